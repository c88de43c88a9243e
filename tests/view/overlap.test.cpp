// SPDX-License-Identifier: MIT
#include "batchnorm/view/overlap.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using batchnorm_test::Random;
using detail::overlap;
using detail::repeats_elements;
using detail::same_memory;

namespace {

constexpr Index memory_size = 512;

/// The addresses of all elements, as bytes from the beginning of the memory.
template <class T>
std::vector<std::ptrdiff_t> element_bytes(const BatchView<T>& view, const void* memory) {
  std::vector<std::ptrdiff_t> all;
  for (Index n = 0; n < view.samples(); ++n) {
    for (Index c = 0; c < view.channels(); ++c) {
      for (Index p = 0; p < view.positions(); ++p) {
        all.push_back(reinterpret_cast<const char*>(&view(n, c, p)) -
                      static_cast<const char*>(memory));
      }
    }
  }
  return all;
}

template <class A, class B>
bool share_a_byte(const BatchView<A>& a, const BatchView<B>& b, const void* memory) {
  std::vector<bool> taken(memory_size, false);
  for (const std::ptrdiff_t first : element_bytes(a, memory)) {
    for (std::size_t byte = 0; byte < sizeof(A); ++byte) {
      taken[static_cast<std::size_t>(first) + byte] = true;
    }
  }
  for (const std::ptrdiff_t first : element_bytes(b, memory)) {
    for (std::size_t byte = 0; byte < sizeof(B); ++byte) {
      if (taken[static_cast<std::size_t>(first) + byte]) return true;
    }
  }
  return false;
}

/// A random view of at most 3 x 3 x 4 elements with strides of either sign, inside the memory.
template <class T>
BatchView<T> random_view(Random& random, T* memory) {
  const auto elements = static_cast<Index>(memory_size / sizeof(T));
  for (;;) {
    const Index sizes[3] = {static_cast<Index>(random.below(4)),
                            static_cast<Index>(1 + random.below(3)),
                            static_cast<Index>(1 + random.below(4))};
    Index strides[3];
    Index low = 0;
    Index high = 0;
    for (int axis = 0; axis < 3; ++axis) {
      strides[axis] = static_cast<Index>(random.below(21)) - 10;
      const Index reach = strides[axis] * std::max<Index>(0, sizes[axis] - 1);
      (reach < 0 ? low : high) += reach;
    }
    if (high - low >= elements) continue;
    const Index first = static_cast<Index>(random.below(static_cast<std::size_t>(elements))) - low;
    if (first + high >= elements) continue;
    return BatchView<T>(memory + first, sizes[0], sizes[1], sizes[2], strides[0], strides[1],
                        strides[2]);
  }
}

template <class A, class B>
void compare_with_brute_force(std::uint64_t seed) {
  alignas(16) char memory[memory_size] = {};
  A* const as_a = reinterpret_cast<A*>(memory);
  B* const as_b = reinterpret_cast<B*>(memory);
  Random random(seed);
  int sharing = 0;
  int wrong = 0;
  constexpr int trials = 3000;
  for (int trial = 0; trial < trials; ++trial) {
    const BatchView<A> a = random_view(random, as_a);
    const BatchView<B> b = random_view(random, as_b);
    const bool truth = share_a_byte(a, b, memory);
    sharing += truth ? 1 : 0;
    wrong += overlap(a, b) != truth || overlap(b, a) != truth ? 1 : 0;
  }
  CHECK(wrong == 0);
  // The trials were worth something: both answers came often.
  CHECK(sharing > trials / 30);
  CHECK(sharing < trials * 9 / 10);
}

}  // namespace

TEST_CASE("overlap is exact for views of elements of one size") {
  compare_with_brute_force<float, const float>(1);
}

TEST_CASE("overlap is exact for views of elements of different sizes") {
  compare_with_brute_force<float, double>(2);
  compare_with_brute_force<const double, std::int16_t>(3);
  compare_with_brute_force<std::int16_t, signed char>(5);
}

TEST_CASE("the same elements in the same order are the same memory") {
  std::vector<float> memory(64);
  const auto a = channels_first(memory.data(), 2, 3, 4);
  const BatchView<const float> read = a;
  CHECK(same_memory(a, a));
  CHECK(same_memory(a, read));
  CHECK(overlap(a, read));
  CHECK_FALSE(same_memory(a, channels_last(memory.data(), 2, 3, 4)));
  CHECK_FALSE(same_memory(a, channels_first(memory.data() + 1, 2, 3, 4)));
  CHECK_FALSE(same_memory(a, BatchView<float>(memory.data(), 2, 3, 4, 13, 4, 1)));
  CHECK_FALSE(same_memory(a, BatchView<float>(memory.data(), 2, 3, 4, 12, 5, 1)));
  CHECK_FALSE(same_memory(a, BatchView<float>(memory.data(), 2, 3, 4, 12, 4, 2)));
  // The stride of an axis of length 1 is never used.
  CHECK(same_memory(BatchView<float>(memory.data(), 1, 3, 1, 99, 1, 7),
                    BatchView<float>(memory.data(), 1, 3, 1, -5, 1, 0)));
}

TEST_CASE("an array of other elements is not the same memory") {
  alignas(8) char memory[64] = {};
  const auto narrow = channels_first(reinterpret_cast<float*>(memory), 2, 2, 1);
  const auto wide = channels_first(reinterpret_cast<double*>(memory), 2, 2, 1);
  CHECK_FALSE(same_memory(narrow, wide));
  CHECK(overlap(narrow, wide));
}

TEST_CASE("interleaved blocks of one matrix do not overlap") {
  std::vector<float> matrix(60);
  const auto rows = [&](Index first, Index count) {  // of a column-major 10 x 6 matrix
    return BatchView<float>(matrix.data() + first, 6, count, 1, 10, 1, 1);
  };
  CHECK_FALSE(overlap(rows(0, 5), rows(5, 5)));
  CHECK_FALSE(overlap(rows(5, 5), rows(0, 5)));
  CHECK(overlap(rows(0, 5), rows(4, 6)));
  CHECK(overlap(rows(0, 6), rows(5, 5)));
  CHECK_FALSE(overlap(rows(0, 1), rows(9, 1)));

  const auto even = BatchView<float>(matrix.data(), 30, 1, 1, 2, 1, 1);
  const auto odd = BatchView<float>(matrix.data() + 1, 30, 1, 1, 2, 1, 1);
  CHECK_FALSE(overlap(even, odd));
  CHECK(overlap(even, rows(0, 1)));
}

TEST_CASE("views that begin at the other's end do not overlap, one element further they do") {
  std::vector<float> memory(48);
  const auto a = channels_first(memory.data(), 2, 3, 4);
  CHECK_FALSE(overlap(a, channels_first(memory.data() + 24, 2, 3, 4)));
  CHECK(overlap(a, channels_first(memory.data() + 23, 2, 3, 4)));
  const BatchView<float> reversed(memory.data() + 47, 2, 3, 4, -12, -4, -1);
  CHECK_FALSE(overlap(a, reversed));
  CHECK(overlap(a, BatchView<float>(memory.data() + 46, 2, 3, 4, -12, -4, -1)));
  CHECK(overlap(a, BatchView<float>(memory.data() + 23, 2, 3, 4, -12, -4, -1)));
}

TEST_CASE("empty views overlap with nothing") {
  float memory[4] = {};
  const auto all = channels_first(memory, 1, 4, 1);
  CHECK_FALSE(overlap(all, channels_first(memory, 0, 4, 1)));
  CHECK_FALSE(overlap(channels_first(memory, 1, 4, 0), all));
  CHECK(overlap(all, channels_first(memory, 1, 4, 1)));
}

TEST_CASE("interleaved blocks of a large matrix do not overlap") {
  // Only addresses are compared, so a small piece of memory may stand for the whole matrix.
  float memory[64] = {};
  constexpr Index columns = Index{1} << (sizeof(Index) > 4 ? 24 : 20);
  const auto rows = [&](Index first, Index count) {  // of a column-major matrix of 64 rows
    return BatchView<float>(memory + first, columns, count, 1, 64, 1, 1);
  };
  CHECK_FALSE(overlap(rows(0, 32), rows(32, 32)));
  CHECK_FALSE(overlap(rows(32, 32), rows(0, 32)));
  CHECK(overlap(rows(0, 33), rows(32, 32)));
  const auto channels = [&](Index first, Index count) {  // of an NCHW array of 8 channels
    return BatchView<float>(memory + first * 8, 50000, count, 8, 64, 8, 1);
  };
  CHECK_FALSE(overlap(channels(0, 3), channels(3, 5)));
  CHECK(overlap(channels(0, 4), channels(3, 5)));
}

TEST_CASE("interleaved blocks are told apart whichever axis is the longest and the widest") {
  // 2^17 rows of 2^20 columns: a search that begins with the narrow axis has 100000 places to try.
  // Of 2^10 columns, where addresses have 32 bits.
  constexpr Index wide = Index{1} << 17, many = Index{1} << (sizeof(Index) > 4 ? 20 : 10);
  std::vector<float> column(wide);
  float* const memory = column.data();
  const auto rows = [&](int axis, Index first, Index count) {
    Index sizes[3] = {1, 1, 1}, strides[3] = {1, 1, 1};
    sizes[axis] = count;
    sizes[(axis + 1) % 3] = many;
    strides[(axis + 1) % 3] = wide;
    return BatchView<float>(memory + first, sizes[0], sizes[1], sizes[2], strides[0], strides[1],
                            strides[2]);
  };
  for (int axis = 0; axis < 3; ++axis) {
    for (int other = 0; other < 3; ++other) {
      INFO(axis << other);
      CHECK_FALSE(overlap(rows(axis, 0, 50000), rows(other, 50000, 50000)));
      CHECK_FALSE(overlap(rows(axis, 70000, 50000), rows(other, 0, 70000)));
      CHECK(overlap(rows(axis, 0, 50001), rows(other, 50000, 50000)));
    }
    CHECK_FALSE(repeats_elements(rows(axis, 0, wide)));
    CHECK(repeats_elements(rows(axis, 0, wide + 1)));
  }
}

TEST_CASE("where the search is given up, the answer is a cautious yes") {
  // No stride fits into another one, and the common element is found by none of the first tries.
  std::vector<float> memory(300000);
  const BatchView<float> a(memory.data() + 9932, 20, 2, 3, 1432, 624, 1719);
  const BatchView<float> b(memory.data(), 28, 27, 39, 1877, 722, 1786);
  std::vector<bool> taken(memory.size());
  for (const std::ptrdiff_t byte : element_bytes(a, memory.data())) {
    taken[static_cast<std::size_t>(byte) / sizeof(float)] = true;
  }
  std::ptrdiff_t common = 0;
  for (const std::ptrdiff_t byte : element_bytes(b, memory.data())) {
    common += taken[static_cast<std::size_t>(byte) / sizeof(float)] ? 1 : 0;
  }
  CHECK(common > 0);
  CHECK(overlap(a, b));
  CHECK(overlap(b, a));
}

TEST_CASE("the addresses of a view end behind its last element, whatever the strides") {
  float memory[64] = {};
  const auto range = [&](const BatchView<float>& view) {
    const detail::AddressRange addresses(view);
    const auto start = reinterpret_cast<std::uintptr_t>(&memory[0]);
    return std::pair(addresses.begin - start, addresses.end - start);
  };
  using Bytes = std::pair<std::uintptr_t, std::uintptr_t>;
  CHECK(range(BatchView<float>(memory + 3, 1, 1, 1, 9, 9, 9)) == Bytes(12, 16));
  CHECK(range(BatchView<float>(memory + 2, 2, 3, 4, 20, 5, 1)) == Bytes(8, 8 + 4 * (20 + 10 + 4)));
  CHECK(range(BatchView<float>(memory + 40, 2, 3, 4, -20, -5, -1)) == Bytes(160 - 132, 164));
  CHECK(range(BatchView<float>(memory + 40, 2, 3, 4, -20, 5, 0)) == Bytes(80, 204));
}

TEST_CASE("axes are nested when each steps over all that is below it") {
  const auto nested = [](const Index(&sizes)[3], const Index(&strides)[3]) {
    return detail::are_nested(sizes, strides);
  };
  CHECK(nested({2, 3, 4}, {12, 4, 1}));
  CHECK(nested({2, 3, 4}, {1, 8, 2}));
  CHECK(nested({2, 3, 4}, {-12, -4, -1}));
  CHECK(nested({2, 3, 4}, {12, -4, 1}));
  CHECK(nested({1, 3, 1}, {0, 1, 0}));
  CHECK(nested({1, 1, 1}, {0, 0, 0}));
  CHECK(nested({2, 1, 4}, {4, 4, 1}));
  CHECK_FALSE(nested({2, 3, 4}, {11, 4, 1}));
  CHECK_FALSE(nested({2, 3, 4}, {12, 3, 1}));
  CHECK_FALSE(nested({2, 3, 4}, {12, -3, 1}));
  CHECK_FALSE(nested({2, 2, 2}, {2, 1, 1}));
  CHECK_FALSE(nested({2, 2, 1}, {1, -1, 7}));
  CHECK_FALSE(nested({2, 1, 1}, {0, 1, 1}));
}

TEST_CASE("a view that repeats elements is recognised exactly") {
  float memory[memory_size / sizeof(float)] = {};
  Random random(4);
  int repeating = 0;
  int wrong = 0;
  constexpr int trials = 3000;
  for (int trial = 0; trial < trials; ++trial) {
    const BatchView<float> view = random_view(random, memory);
    std::vector<std::ptrdiff_t> places = element_bytes(view, memory);
    std::sort(places.begin(), places.end());
    const bool truth = std::adjacent_find(places.begin(), places.end()) != places.end();
    repeating += truth ? 1 : 0;
    wrong += repeats_elements(view) != truth ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(repeating > trials / 10);
  CHECK(repeating < trials * 9 / 10);
}

TEST_CASE("broadcasts and sliding windows repeat elements, the common layouts do not") {
  float memory[64] = {};
  CHECK(repeats_elements(BatchView<float>(memory, 2, 3, 4, 0, 4, 1)));
  CHECK(repeats_elements(BatchView<float>(memory, 2, 3, 4, 12, 0, 1)));
  CHECK(repeats_elements(BatchView<float>(memory, 2, 3, 4, 12, 4, 0)));
  CHECK(repeats_elements(BatchView<float>(memory, 4, 1, 4, 1, 1, 1)));
  CHECK(repeats_elements(BatchView<float>(memory, 1, 2, 1, 1, 0, 1)));
  CHECK_FALSE(repeats_elements(BatchView<float>(memory, 1, 1, 1, 0, 0, 0)));
  CHECK_FALSE(repeats_elements(BatchView<float>(memory, 1, 3, 1, 0, 1, 0)));
  CHECK_FALSE(repeats_elements(BatchView<float>(memory, 0, 3, 4, 0, 0, 0)));
  CHECK_FALSE(repeats_elements(BatchView<float>(memory + 63, 2, 3, 4, -12, -4, -1)));
  // Only strides are looked at, so these may be as large as any.
  const Index many = Index{1} << (std::min)(18, std::numeric_limits<Index>::digits - 20);
  CHECK_FALSE(repeats_elements(channels_first(memory, many, 512, 1024)));
  CHECK_FALSE(repeats_elements(channels_last(memory, many, 512, 1024)));
  CHECK(repeats_elements(BatchView<float>(memory, many, 512, 1024, 512 * 1024 - 1, 1024, 1)));
}

TEST_CASE("a view without its scalar has the sizes, the strides and the order of the view") {
  std::vector<double> memory(200);
  const BatchView<double> view(memory.data() + 30, 2, 3, 5, 40, -10, 2);
  const detail::ViewMemory plain = view.counted(PositionOrder::first_fastest);
  const Index sizes[] = {2, 3, 5}, strides[] = {40, -10, 2};
  for (const int axis : {0, 1, 2}) {
    CHECK(plain.size(axis) == sizes[axis]);
    CHECK(plain.stride(axis) == strides[axis]);
  }
  CHECK(plain.bytes == 8);
  CHECK(plain.data == memory.data() + 30);
  CHECK(plain.order == PositionOrder::first_fastest);
  CHECK(detail::ViewMemory(view).order == PositionOrder::last_fastest);
  CHECK_FALSE(plain.empty());
  CHECK(detail::ViewMemory(channels_first(memory.data(), 0, 3, 5)).empty());
  CHECK(detail::ViewMemory(channels_first(memory.data(), 2, 3, 0)).empty());
  CHECK_FALSE(detail::ViewMemory(channels_first(memory.data(), 1, 1, 1)).empty());
}
