// SPDX-License-Identifier: MIT
#include "batchnorm/loops/simd_memory.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "loops/sixteen_bits.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

// ---- conversions at every width

template <class T>
std::vector<T> all_patterns() {
  std::vector<T> all(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    all[i] = Eigen::numext::bit_cast<T>(static_cast<std::uint16_t>(i));
  }
  return all;
}

template <class T>
struct Narrows {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    static const std::vector<float> numbers = numbers_to_narrow(format_of<T>);
    std::vector<T> narrow(numbers.size());
    for (std::size_t i = 0; i + Lanes <= numbers.size(); i += Lanes) {
      simd::Vector<float, Lanes> vector;
      simd::read<float, Lanes>(vector, numbers.data() + i);
      simd::store<float, Lanes, true>(narrow.data() + i, 1, vector);
    }
    check(numbers, narrow, Lanes);
  }

  static void check(const std::vector<float>& numbers, const std::vector<T>& narrow, int lanes) {
    int wrong = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      std::uint32_t got = Eigen::numext::bit_cast<std::uint16_t>(narrow[i]);
      std::uint32_t wanted = slowly_narrowed(format_of<T>, numbers[i]);
      if (lanes == 1 && std::isnan(numbers[i])) {
        // Eigen's conversion of a single number: any NaN of that sign will do.
        got = std::isnan(slowly_widened(format_of<T>, got)) ? 1 : 0;
        wanted = 1;
      }
      if (got != wanted && ++wrong <= 5) {
        FAIL_CHECK(lanes << " lanes: " << std::hex << bits_of(numbers[i]) << " became " << got
                         << " instead of " << wanted);
      }
    }
    CHECK(wrong == 0);
  }
};

template <class T>
struct Widens {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<T> patterns = all_patterns<T>();
    std::vector<C> wide(patterns.size());
    for (std::size_t i = 0; i < patterns.size(); i += Lanes) {
      simd::Vector<C, Lanes> vector;
      simd::load<C, Lanes, true>(vector, patterns.data() + i, 1);
      simd::write<C, Lanes>(wide.data() + i, vector);
    }
    check(wide, Lanes);
  }

  template <class C>
  static void check(const std::vector<C>& wide, int lanes) {
    int wrong = 0;
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const C got = wide[bits];
      const C wanted = static_cast<C>(slowly_widened(format_of<T>, bits));
      const bool same = std::isnan(wanted) ? std::isnan(got) : got == wanted;
      if ((!same || std::signbit(got) != std::signbit(wanted)) && ++wrong <= 5) {
        FAIL_CHECK(lanes << " lanes: " << std::hex << bits << " became " << got);
      }
    }
    CHECK(wrong == 0);
  }
};

// ---- loads and stores of whole vectors and parts of them

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

/// Loads vectors and parts of vectors of elements T, at every alignment.
template <class T>
struct Loads {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<T> memory = numbers<T>();
    INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
    for (Index first = 8; first < 16; ++first) {
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
        simd::load_some<C, Lanes>(vector, memory.data() + 10, stride, count);
        std::vector<C> wanted = expected<C>(10, stride, count);
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
    for (Index first = 8; first < 16; ++first) {
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
      simd::store_some<C, Lanes>(memory.data() + 20, -2, vector, count);
      CHECK(memory == written<T>(20, -2, count));
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

TEST_CASE("every half and bfloat16 becomes the float, and the double, that it is") {
  at_every_width<Widens<Eigen::half>, float>();
  at_every_width<Widens<Eigen::bfloat16>, float>();
  at_every_width<Widens<Eigen::half>, double>();
  at_every_width<Widens<Eigen::bfloat16>, double>();
}

TEST_CASE("floats are rounded to the nearest half and bfloat16, ties to even") {
  at_every_width<Narrows<Eigen::half>, float>();
  at_every_width<Narrows<Eigen::bfloat16>, float>();
}

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
