// SPDX-License-Identifier: MIT
#include "batchnorm/loops/simd.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// Vectors seen as the numbers in them.
template <class C, int Lanes>
std::vector<C> lanes_of_vector(const simd::Vector<C, Lanes>& vector) {
  std::vector<C> lanes(Lanes);
  std::memcpy(lanes.data(), &vector, sizeof vector);
  return lanes;
}

template <class T>
T number(Index i) {
  return static_cast<T>(static_cast<float>(3 * i - 20));
}
constexpr Index memory_size = 64;

template <class T>
std::vector<T> numbers() {
  std::vector<T> memory;
  for (Index i = 0; i < memory_size; ++i) memory.push_back(number<T>(i));
  return memory;
}

/// What `count` numbers from index `first` on are, `stride` apart.
template <class C>
std::vector<C> expected(Index first, Index stride, Index count) {
  std::vector<C> values;
  for (Index i = 0; i < count; ++i) values.push_back(number<C>(first + i * stride));
  return values;
}

/// Loads vectors and parts of vectors, at every alignment.
template <class C, class T, int Lanes>
void check_loads() {
  const std::vector<T> memory = numbers<T>();
  for (Index first = 8; first < 12; ++first) {
    simd::Vector<C, Lanes> vector;
    simd::load<C, Lanes, true>(vector, memory.data() + first, 1);
    CHECK(lanes_of_vector<C, Lanes>(vector) == expected<C>(first, 1, Lanes));
    for (const Index stride : {1, 3, 5, -1, 0}) {
      simd::load<C, Lanes, false>(vector, memory.data() + first, stride);
      CHECK(lanes_of_vector<C, Lanes>(vector) == expected<C>(first, stride, Lanes));
    }
  }
  for (Index count = 0; count <= Lanes; ++count) {
    for (const Index stride : {1, 4, -1}) {
      simd::Vector<C, Lanes> vector;
      simd::broadcast<C, Lanes>(vector, C(-7));
      simd::load_some<C, Lanes>(vector, memory.data() + 10, stride, count);
      std::vector<C> wanted = expected<C>(10, stride, count);
      wanted.resize(Lanes, C(-7));
      CHECK(lanes_of_vector<C, Lanes>(vector) == wanted);
    }
  }
}

/// Stores vectors and parts of vectors; nothing but their elements changes.
template <class C, class T, int Lanes>
void check_stores() {
  simd::Vector<C, Lanes> vector;
  simd::load<C, Lanes, true>(vector, numbers<C>().data(), 1);
  const auto written = [](Index first, Index stride, Index count) {
    std::vector<T> wanted(memory_size, T(0));
    for (Index i = 0; i < count; ++i) {
      wanted[static_cast<std::size_t>(first + i * stride)] = number<T>(i);
    }
    return wanted;
  };
  for (Index first = 8; first < 12; ++first) {
    std::vector<T> memory(memory_size, T(0));
    simd::store<C, Lanes, true>(memory.data() + first, 1, vector);
    CHECK(memory == written(first, 1, Lanes));
    for (const Index stride : {1, 3, -1}) {
      memory.assign(memory_size, T(0));
      simd::store<C, Lanes, false>(memory.data() + first, stride, vector);
      CHECK(memory == written(first, stride, Lanes));
    }
  }
  for (Index count = 0; count <= Lanes; ++count) {
    std::vector<T> memory(memory_size, T(0));
    simd::store_some<C, Lanes>(memory.data() + 20, -2, vector, count);
    CHECK(memory == written(20, -2, count));
  }
}

template <class C, class T, int Lanes>
void check_loads_and_stores() {
  INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
  check_loads<C, T, Lanes>();
  check_stores<C, T, Lanes>();
}

template <class C, int Lanes>
C sum_of_first_numbers() {
  simd::Vector<C, Lanes> vector;
  simd::load<C, Lanes, true>(vector, numbers<C>().data(), 1);
  return simd::sum_of_lanes<C, Lanes>(vector);
}

/// The body of a loop that leaves a note of the width that it ran with, and computes y = x k + 1 by
/// whole vectors of floats.
struct Probe {
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    *bytes = Bytes;
    constexpr int lanes = simd::lanes_of<float, Bytes>;
    simd::Vector<float, lanes> one;
    simd::Vector<float, lanes> k;
    simd::broadcast<float, lanes>(one, 1.0f);
    simd::broadcast<float, lanes>(k, 2.0f);
    for (Index i = 0; i + lanes <= memory_size; i += lanes) {
      simd::Vector<float, lanes> x;
      simd::load<float, lanes, true>(x, from + i, 1);
      const simd::Vector<float, lanes> y = x * k + one;
      simd::store<float, lanes, true>(to + i, 1, y);
    }
  }
  int* bytes;
  const float* from;
  float* to;
};

int width_of(InstructionSet instruction_set) {
  int bytes = 0;
  const std::vector<float> from = numbers<float>();
  std::vector<float> to(memory_size);
  simd::dispatch(instruction_set, Probe{&bytes, from.data(), to.data()});
  for (Index i = 0; i < memory_size; ++i) {
    const auto at = static_cast<std::size_t>(i);
    CHECK(to[at] == 2 * from[at] + 1);
  }
  return bytes;
}

}  // namespace

TEST_CASE("vectors of one type load and store") {
  check_loads_and_stores<float, float, 1>();
  check_loads_and_stores<float, float, 4>();
  check_loads_and_stores<float, float, 8>();
  check_loads_and_stores<double, double, 2>();
  check_loads_and_stores<double, double, 4>();
  check_loads_and_stores<long double, long double, 1>();
}

TEST_CASE("elements are converted on the way") {
  check_loads_and_stores<double, float, 2>();
  check_loads_and_stores<double, float, 4>();
  check_loads_and_stores<float, Eigen::half, 1>();
  check_loads_and_stores<float, Eigen::half, 8>();
  check_loads_and_stores<float, Eigen::bfloat16, 4>();
  check_loads_and_stores<double, Eigen::bfloat16, 4>();
}

TEST_CASE("what is stored is rounded once") {
  simd::Vector<double, 2> third;
  simd::broadcast<double, 2>(third, 1.0 / 3.0);
  float narrow[2] = {};
  simd::store<double, 2, true>(narrow, 1, third);
  CHECK((narrow[0] == 1.0f / 3.0f && narrow[1] == narrow[0]));
  double wide[2] = {};
  simd::Vector<double, 2> back;
  simd::load<double, 2, true>(back, narrow, 1);
  simd::store<double, 2, true>(wide, 1, back);
  CHECK((wide[0] == static_cast<double>(1.0f / 3.0f) && wide[1] == wide[0]));
}

TEST_CASE("broadcast fills every lane") {
  simd::Vector<float, 8> vector;
  simd::broadcast<float, 8>(vector, 0.1f);
  CHECK(lanes_of_vector<float, 8>(vector) == std::vector<float>(8, 0.1f));
  long double single = 0;
  simd::broadcast<long double, 1>(single, 0.1L);
  CHECK(single == 0.1L);
}

TEST_CASE("broadcast keeps the sign of zero") {
  simd::Vector<double, 4> vector;
  simd::broadcast<double, 4>(vector, -0.0);
  for (const double lane : lanes_of_vector<double, 4>(vector)) CHECK(std::signbit(lane));
  simd::broadcast<double, 4>(vector, 0.0);
  for (const double lane : lanes_of_vector<double, 4>(vector)) CHECK_FALSE(std::signbit(lane));
}

TEST_CASE("the sum of lanes is that of all of them") {
  // The numbers are -20, -17, -14, ...
  CHECK(sum_of_first_numbers<double, 1>() == -20);
  CHECK(sum_of_first_numbers<double, 2>() == -37);
  CHECK(sum_of_first_numbers<float, 4>() == -62);
  CHECK(sum_of_first_numbers<float, 8>() == -76);
}

TEST_CASE("only float and double have vectors") {
  CHECK(simd::lanes_of<float, 16> == 4);
  CHECK(simd::lanes_of<float, 32> == 8);
  CHECK(simd::lanes_of<double, 16> == 2);
  CHECK(simd::lanes_of<double, 32> == 4);
  CHECK(simd::lanes_of<float, 1> == 1);
  CHECK(simd::lanes_of<long double, 32> == 1);
  CHECK(simd::lanes_of<int, 16> == 1);
  CHECK(simd::lanes_of<Eigen::half, 32> == 1);
}

TEST_CASE("the baseline is taken when asked for") {
  CHECK(width_of(InstructionSet::baseline) == simd::baseline_bytes);
}

TEST_CASE("the best is what this processor has") {
  int best = simd::baseline_bytes;
#if defined(__GNUC__) && defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = simd::avx2_bytes;
#endif
  CHECK(width_of(InstructionSet::best) == best);
  if (best == simd::baseline_bytes) WARN("left out: this processor has no AVX2");
}
