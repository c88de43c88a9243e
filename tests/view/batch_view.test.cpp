// SPDX-License-Identifier: MIT
#include "batchnorm/view/batch_view.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/sparse_memory.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

constexpr Index most = (std::numeric_limits<Index>::max)();

/// Every element holds its own place, so that a view shows where it reads.
std::vector<int> places(Index size) {
  std::vector<int> memory(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<int>(i);
  return memory;
}

/// Walks a packed array in the order of its memory, the axes nested as the format's name has them.
template <class Visit>
void walk(Index outer, Index middle, Index inner, const Visit& visit) {
  int place = 0;
  for (Index i = 0; i < outer; ++i) {
    for (Index j = 0; j < middle; ++j) {
      for (Index k = 0; k < inner; ++k) visit(i, j, k, place++);
    }
  }
}

BatchView<const float> view_of_shape(Index samples, Index channels, Index positions) {
  static const float nothing = 0;
  return BatchView<const float>(&nothing, samples, channels, positions, 0, 0, 0);
}

}  // namespace

TEST_CASE("channels_first reads NCHW") {
  struct Shape {
    Index samples, channels, positions;
  };
  for (const Shape& shape : {Shape{2, 3, 4}, {1, 5, 7}, {6, 1, 2}, {3, 4, 1}, {1, 1, 1}}) {
    std::vector<int> memory = places(shape.samples * shape.channels * shape.positions);
    const BatchView<int> view =
        channels_first(memory.data(), shape.samples, shape.channels, shape.positions);
    CHECK(view.samples() == shape.samples);
    CHECK(view.channels() == shape.channels);
    CHECK(view.positions() == shape.positions);
    CHECK(view.values_per_channel() == shape.samples * shape.positions);
    CHECK(view.position_order() == PositionOrder::last_fastest);
    walk(shape.samples, shape.channels, shape.positions,
         [&](Index n, Index c, Index p, int place) { CHECK(view(n, c, p) == place); });
  }
}

TEST_CASE("channels_last reads NHWC") {
  std::vector<int> memory = places(2 * 3 * 4);
  const BatchView<int> view = channels_last(memory.data(), 2, 3, 4);
  CHECK(view.samples() == 2);
  CHECK(view.channels() == 3);
  CHECK(view.positions() == 4);
  walk(2, 4, 3, [&](Index n, Index p, Index c, int place) { CHECK(view(n, c, p) == place); });
}

TEST_CASE("with one position both makers mean the same elements") {
  std::vector<int> memory = places(15);
  const auto first = channels_first(memory.data(), 3, 5, 1);
  const auto last = channels_last(memory.data(), 3, 5, 1);
  walk(3, 5, 1, [&](Index n, Index c, Index p, int place) {
    CHECK(&first(n, c, p) == memory.data() + place);
    CHECK(&last(n, c, p) == memory.data() + place);
  });
}

TEST_CASE("strides may be anything, negative ones too") {
  std::vector<int> memory = places(100);
  const BatchView<int> view(memory.data() + 50, 2, 3, 4, -20, 10, -3);
  walk(2, 3, 4, [&](Index n, Index c, Index p, int) {
    CHECK(view(n, c, p) == 50 - 20 * n + 10 * c - 3 * p);
  });
  view(1, 2, 3) = -7;
  CHECK(memory[41] == -7);
}

TEST_CASE("a view of const elements reads, and a view that writes converts to it") {
  std::vector<int> memory = places(24);
  const BatchView<int> writes = channels_last(memory.data(), 2, 3, 4);
  const BatchView<const int> reads = writes.counted(PositionOrder::first_fastest);
  walk(2, 4, 3, [&](Index n, Index p, Index c, int place) {
    CHECK(&reads(n, c, p) == memory.data() + place);
  });
  CHECK(reads.position_order() == PositionOrder::first_fastest);
  CHECK(writes.position_order() == PositionOrder::last_fastest);

  const std::vector<int>& untouchable = memory;
  const auto made = channels_first(untouchable.data(), 2, 3, 4);
  CHECK(std::is_same<decltype(made), const BatchView<const int>>::value);
  CHECK(std::is_same<decltype(made(0, 0, 0)), const int&>::value);
  CHECK(std::is_same<BatchView<const int>::Scalar, int>::value);
  CHECK_FALSE(std::is_convertible<BatchView<const int>, BatchView<int>>::value);
  CHECK_FALSE(std::is_convertible<BatchView<int>, BatchView<const long>>::value);
}

TEST_CASE("a view is a small value") {
  CHECK(std::is_trivially_copyable<BatchView<float>>::value);
  CHECK(std::is_trivially_copyable<BatchView<const double>>::value);
  CHECK(sizeof(BatchView<float>) <= 8 * sizeof(Index));
}

TEST_CASE("an empty view needs no memory") {
  float* const null = nullptr;
  CHECK(channels_first(null, 0, 3, 4).empty());
  CHECK(channels_last(null, 2, 3, 0).empty());
  CHECK(BatchView<float>(null, 0, 1, 0, 0, 0, 0).values_per_channel() == 0);
  float one = 1;
  CHECK_FALSE(channels_first(&one, 1, 1, 1).empty());
}

TEST_CASE("null data with elements is refused") {
  float* const null = nullptr;
  CHECK_THROWS_MATCHES(channels_first(null, 2, 3, 4), std::invalid_argument,
                       says("BatchView: data of a view that is not empty: expected a pointer to "
                            "its elements, got null for 24 elements"));
  CHECK_THROWS_MATCHES(channels_last(null, 1, 1, 1), std::invalid_argument,
                       says("got null for 1 elements"));
}

TEST_CASE("a batch has channels") {
  CHECK_THROWS_MATCHES(view_of_shape(2, 0, 1), std::invalid_argument,
                       says("BatchView: number of channels: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(view_of_shape(2, -3, 1), std::invalid_argument,
                       says("BatchView: number of channels: expected at least 1, got -3"));
  CHECK_THROWS_AS(view_of_shape(0, 0, 0), std::invalid_argument);
  CHECK_NOTHROW(view_of_shape(2, 1, 1));
}

TEST_CASE("no count is negative") {
  CHECK_THROWS_MATCHES(view_of_shape(-1, 3, 4), std::invalid_argument,
                       says("BatchView: number of samples and positions: expected zero or more, "
                            "got -1 samples and 4 positions"));
  CHECK_THROWS_MATCHES(view_of_shape(0, 3, -4), std::invalid_argument,
                       says("got 0 samples and -4 positions"));
}

TEST_CASE("the number of elements fits into an Index") {
  CHECK_THROWS_MATCHES(view_of_shape(most, 2, 1), std::invalid_argument,
                       says("BatchView: number of elements: expected at most "));
  CHECK_THROWS_AS(view_of_shape(2, most, 1), std::invalid_argument);
  CHECK_THROWS_AS(view_of_shape(1, 2, most), std::invalid_argument);
  CHECK_THROWS_AS(view_of_shape(most / 2, 1, 3), std::invalid_argument);
  CHECK(view_of_shape(most, 1, 1).values_per_channel() == most);
  CHECK(view_of_shape(1, most / 2, 2).channels() == most / 2);
  // 2^63 elements would be one too many, although each count is far from the limit.
  const Index cube_root = Index{1} << 21;
  CHECK_THROWS_MATCHES(view_of_shape(cube_root, cube_root, cube_root), std::invalid_argument,
                       says("2097152 x 2097152 x 2097152 elements"));
}

TEST_CASE("some samples of a view are the same memory, counted in the same order") {
  std::vector<int> memory = places(7 * 3 * 4);
  for (const PositionOrder order : {PositionOrder::last_fastest, PositionOrder::first_fastest}) {
    const auto view = channels_last(memory.data(), 7, 3, 4).counted(order);
    const auto some = detail::samples_of(view, 2, 3);
    CHECK(some.samples() == 3);
    CHECK(some.channels() == 3);
    CHECK(some.positions() == 4);
    CHECK(&some(0, 1, 3) == &view(2, 1, 3));
    CHECK(&some(2, 0, 0) == &view(4, 0, 0));
    CHECK(some.position_order() == order);
    CHECK(detail::samples_of(view, 0, 0).empty());
  }
}

TEST_CASE("makers refuse too many elements before they compute strides") {
  float one = 1;
  const Index large = (std::numeric_limits<Index>::max)() / 4;
  CHECK_THROWS_AS(channels_first(&one, 1, large, large), std::invalid_argument);
  CHECK_THROWS_AS(channels_last(&one, 1, large, large), std::invalid_argument);
}

TEST_CASE("offsets beyond 2^32 elements are reached") {
  const std::uint64_t sample_stride = (std::uint64_t{1} << 32) + 5;
  const std::uint64_t channel_stride = (std::uint64_t{1} << 29) + 1;
  const batchnorm_test::SparseMemory sparse(sizeof(float) * 2 * sample_stride);
  float* const memory = sparse.data<float>();
  if (memory == nullptr) {
    WARN("left out: this system grants no sparse memory of 32 GiB");
    return;
  }
  const BatchView<float> view(memory, 2, 3, 2, static_cast<Index>(sample_stride),
                              static_cast<Index>(channel_stride), 3);
  walk(2, 3, 2, [&](Index n, Index c, Index p, int place) {
    view(n, c, p) = static_cast<float>(place + 1);
  });
  walk(2, 3, 2, [&](Index n, Index c, Index p, int place) {
    const std::uint64_t offset = static_cast<std::uint64_t>(n) * sample_stride +
                                 static_cast<std::uint64_t>(c) * channel_stride +
                                 static_cast<std::uint64_t>(p) * 3;
    CHECK(memory[offset] == static_cast<float>(place + 1));
  });
}
