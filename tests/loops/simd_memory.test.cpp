// SPDX-License-Identifier: MIT
#include "batchnorm/loops/simd_memory.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "loops/sixteen_bits.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
T number(Index i) {
  return static_cast<T>(static_cast<float>(2 * i - 100));
}
constexpr Index memory_size = 128;

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

/// Loads vectors and parts of vectors of elements T, at every alignment.
template <class T>
struct Loads {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<T> memory = numbers<T>();
    INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
    for (Index first = 16; first < 32; ++first) {
      simd::Vector<C, Lanes> vector;
      simd::load<C, Lanes, true>(vector, memory.data() + first, 1);
      CHECK((lanes_of_vector<C, Lanes>(vector) == expected<C>(first, 1, Lanes)));
      for (const Index stride : {1, 3, 5, -1, 0}) {
        simd::load<C, Lanes, false>(vector, memory.data() + first, stride);
        CHECK((lanes_of_vector<C, Lanes>(vector) == expected<C>(first, stride, Lanes)));
      }
    }
    for (Index count = 0; count <= Lanes; ++count) {
      for (const Index stride : {1, 4, -1}) {
        simd::Vector<C, Lanes> vector;
        simd::broadcast<C, Lanes>(vector, C(-7));
        simd::load_some<C, Lanes>(vector, memory.data() + 20, stride, count);
        std::vector<C> wanted = expected<C>(20, stride, count);
        wanted.resize(static_cast<std::size_t>(Lanes), C(-7));
        CHECK((lanes_of_vector<C, Lanes>(vector) == wanted));
      }
    }
  }
};

/// Memory in which nothing has been written but `count` numbers, `stride` apart.
template <class T>
std::vector<T> written(Index first, Index stride, Index count) {
  std::vector<T> wanted(memory_size, T(0));
  for (Index i = 0; i < count; ++i) {
    wanted[static_cast<std::size_t>(first + i * stride)] = number<T>(i);
  }
  return wanted;
}

/// Stores vectors and parts of vectors; nothing but their elements changes.
template <class T>
struct Stores {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
    simd::Vector<C, Lanes> vector;
    const std::vector<C> first_numbers = numbers<C>();
    simd::read<C, Lanes>(vector, first_numbers.data());
    for (Index first = 16; first < 32; ++first) {
      std::vector<T> memory(memory_size, T(0));
      simd::store<C, Lanes, true>(memory.data() + first, 1, vector);
      CHECK(memory == written<T>(first, 1, Lanes));
      for (const Index stride : {1, 3, -1}) {
        memory.assign(memory_size, T(0));
        simd::store<C, Lanes, false>(memory.data() + first, stride, vector);
        CHECK(memory == written<T>(first, stride, Lanes));
      }
    }
    for (Index count = 0; count <= Lanes; ++count) {
      std::vector<T> memory(memory_size, T(0));
      simd::store_some<C, Lanes>(memory.data() + 40, -2, vector, count);
      CHECK(memory == written<T>(40, -2, count));
    }
  }
};

/// Streams vectors to memory aligned to them.
template <class T>
struct Streams {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    if constexpr (simd::can_stream<C, Lanes, T>) {
      INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
      alignas(64) T streamed[memory_size];
      std::vector<T> stored(memory_size);
      Random random(4);
      for (T& each : streamed) each = T(0);
      for (Index at = 0; at < memory_size; at += 2 * Lanes) {
        C inexact[Lanes];
        for (C& each : inexact) each = static_cast<C>(random.uniform(-100, 100));
        simd::Vector<C, Lanes> vector;
        simd::read<C, Lanes>(vector, inexact);
        simd::stream<C, Lanes>(streamed + at, vector);
        simd::store<C, Lanes, true>(stored.data() + at, 1, vector);
      }
      simd::finish_streaming();
      CHECK(std::equal(stored.begin(), stored.end(), streamed));
      CHECK(stored[0] != T(0));
    }
  }
};

template <class C, class T>
void check_loads_and_stores() {
  at_every_width<Loads<T>, C>();
  at_every_width<Stores<T>, C>();
}

}  // namespace

TEST_CASE("vectors of one type load and store") {
  check_loads_and_stores<float, float>();
  check_loads_and_stores<double, double>();
  Loads<long double>::run<long double, 1>();
  Stores<long double>::run<long double, 1>();
}

TEST_CASE("elements are converted on the way") {
  check_loads_and_stores<double, float>();
  check_loads_and_stores<float, Eigen::half>();
  check_loads_and_stores<float, Eigen::bfloat16>();
  at_every_width<Loads<Eigen::half>, double>();
}

struct RoundsOnce {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    simd::Vector<C, Lanes> third;
    simd::broadcast<C, Lanes>(third, C(1) / C(3));
    float narrow[Lanes] = {};
    simd::store<C, Lanes, true>(narrow, 1, third);
    simd::load<C, Lanes, true>(third, narrow, 1);
    const std::vector<C> wanted(static_cast<std::size_t>(Lanes), static_cast<C>(1.0f / 3.0f));
    CHECK(narrow[Lanes - 1] == 1.0f / 3.0f);
    CHECK((lanes_of_vector<C, Lanes>(third) == wanted));
  }
};

TEST_CASE("what is stored is rounded once") {
  at_every_width<RoundsOnce, double>();
}

/// Doubles, and the floats that are nearest to them: ties to even, by IEEE 754.
struct Nearest {
  double number;
  float rounded;
};
const std::vector<Nearest>& nearest_floats() {
  using Floats = std::numeric_limits<float>;
  using Doubles = std::numeric_limits<double>;
  static const std::vector<Nearest> all = {
      {0.0, 0.0f},
      {1.0 / 3.0, 0x1.555556p-2f},
      {1 + 0x1p-24, 1.0f},                       // a tie, down to even
      {1 + 0x3p-24, 1 + 0x1p-22f},               // a tie, up to even
      {1 + 0x1p-24 + 0x1p-52, 1 + 0x1p-23f},     // just above a tie
      {1 + 0x3p-24 - 0x1p-52, 1 + 0x1p-23f},     // just below a tie
      {0x1.ffffffp0, 2.0f},                      // carries into the exponent
      {0x1.fffffefffffffp127, (Floats::max)()},  // just below the tie with 2^128
      {0x1.ffffffp127, Floats::infinity()},      // that tie
      {1e39, Floats::infinity()},
      {(Doubles::max)(), Floats::infinity()},
      {Doubles::infinity(), Floats::infinity()},
      {0x1p-126, (Floats::min)()},
      {0x1.ffffffp-127, (Floats::min)()},   // a tie between subnormal and normal
      {0x1.fffffcp-127, 0x1.fffffcp-127f},  // the largest subnormal number
      {0x1p-149, Floats::denorm_min()},
      {0x1.8p-149, 0x1p-148f},  // a tie of subnormal numbers, up to even
      {0x1.4p-148, 0x1p-148f},  // another, down to even
      {0x1p-150, 0.0f},         // half of the smallest
      {0x1.0000000000001p-150, Floats::denorm_min()},
      {(Doubles::min)(), 0.0f},
      {Doubles::denorm_min(), 0.0f}};
  return all;
}

struct RoundsToFloat {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<Nearest>& all = nearest_floats();
    for (std::size_t first = 0; first < all.size(); ++first) {
      for (const double sign : {1.0, -1.0}) {
        C numbers[Lanes];
        float got[Lanes];
        for (std::size_t lane = 0; lane < Lanes; ++lane) {
          numbers[lane] = sign * all[(first + lane) % all.size()].number;
        }
        simd::Vector<C, Lanes> vector;
        simd::read<C, Lanes>(vector, numbers);
        simd::store<C, Lanes, true>(got, 1, vector);
        for (std::size_t lane = 0; lane < Lanes; ++lane) {
          const float wanted = static_cast<float>(sign) * all[(first + lane) % all.size()].rounded;
          INFO(numbers[lane] << " in lane " << lane << " of " << Lanes);
          CHECK(bits_of(got[lane]) == bits_of(wanted));
        }
      }
    }
  }
};

/// NaN in one lane at a time, of either sign.
struct KeepsNaN {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    for (const C nan :
         {std::numeric_limits<C>::quiet_NaN(), -std::numeric_limits<C>::quiet_NaN()}) {
      for (int place = 0; place < Lanes; ++place) {
        C numbers[Lanes] = {};
        float got[Lanes];
        numbers[place] = nan;
        simd::Vector<C, Lanes> vector;
        simd::read<C, Lanes>(vector, numbers);
        simd::store<C, Lanes, true>(got, 1, vector);
        for (int lane = 0; lane < Lanes; ++lane) {
          CHECK(std::isnan(got[lane]) == (lane == place));
          if (lane == place) CHECK(std::signbit(got[lane]) == std::signbit(nan));
        }
      }
    }
  }
};

TEST_CASE("doubles are rounded to the nearest float, ties to even") {
  at_every_width<RoundsToFloat, double>();
  at_every_width<KeepsNaN, double>();
}

TEST_CASE("streams write what stores write") {
  at_every_width<Streams<float>, float>();
  at_every_width<Streams<double>, double>();
  at_every_width<Streams<Eigen::half>, float>();
  at_every_width<Streams<Eigen::bfloat16>, float>();
}

TEST_CASE("whole vectors of at least 16 bytes can be streamed") {
#if defined(__x86_64__)
  if constexpr (simd::has_vectors) {
    CHECK(simd::can_stream<float, 4, float>);
    CHECK(simd::can_stream<float, 8, float>);
    CHECK(simd::can_stream<double, 2, double>);
    CHECK(simd::can_stream<float, 8, Eigen::half>);
    CHECK(simd::can_stream<float, 8, Eigen::bfloat16>);
  }
#endif
  CHECK_FALSE(simd::can_stream<float, 4, Eigen::half>);
  CHECK_FALSE(simd::can_stream<double, 4, float>);
  CHECK_FALSE(simd::can_stream<float, 1, float>);
  CHECK_FALSE(simd::can_stream<long double, 1, long double>);
}
