// SPDX-License-Identifier: MIT
#include "batchnorm/loops/sixteen_bits.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "loops/sixteen_bits.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

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
      const bool any_nan = lanes == 1 || std::is_same<T, Eigen::bfloat16>::value;
      if (any_nan && std::isnan(numbers[i])) {
        // Eigen's conversion of a single number, and vectors of bfloat16: any NaN will do.
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

/// Two vectors at a time, where that is done.
struct NarrowsPairs {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using T = Eigen::bfloat16;
    if constexpr (simd::narrows_in_pairs<float, Lanes, T>) {
      static const std::vector<float> numbers = numbers_to_narrow(format_of<T>);
      std::vector<T> narrow(numbers.size());
      for (std::size_t i = 0; i + 2 * Lanes <= numbers.size(); i += 2 * Lanes) {
        simd::Vector<float, Lanes> first, second;
        simd::read<float, Lanes>(first, numbers.data() + i);
        simd::read<float, Lanes>(second, numbers.data() + i + Lanes);
        simd::Vector<std::uint16_t, 2 * Lanes> bits;
        simd::narrow_pair<Lanes>(bits, first, second, T());
        simd::write<std::uint16_t, 2 * Lanes>(narrow.data() + i, bits);
      }
      Narrows<T>::check(numbers, narrow, 2 * Lanes);
    }
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
  at_every_width<NarrowsPairs, float>();
}

TEST_CASE("half and bfloat16 have 16 bits") {
  CHECK(simd::is_16_bit<Eigen::half>);
  CHECK(simd::is_16_bit<Eigen::bfloat16>);
  CHECK_FALSE(simd::is_16_bit<std::uint16_t>);
  CHECK_FALSE(simd::is_16_bit<float>);
}
