// SPDX-License-Identifier: MIT
#include "batchnorm/detail/rounding.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// The value of a 16 bit pattern, from the definition of the format.
double value_of(unsigned bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

template <class Narrow>
unsigned bits_of(double value) {
  const Narrow rounded = detail::round_once<Narrow>(value);
  std::uint16_t bits = 0;
  std::memcpy(&bits, &rounded, sizeof bits);
  return bits;
}

/// Counts the midpoints of neighbours that do not round to even, and the numbers beside them that
/// do not round to the nearer neighbour: for every positive pattern up to the largest finite one.
template <class Narrow>
int wrong_roundings(int exponent_bits, unsigned largest) {
  int wrong = 0;
  for (unsigned bits = 0; bits < largest; ++bits) {
    const double low = value_of(bits, exponent_bits);
    const double high = value_of(bits + 1, exponent_bits);
    const double middle = (low + high) / 2;
    const unsigned even = bits % 2 == 0 ? bits : bits + 1;
    wrong += bits_of<Narrow>(low) != bits;
    wrong += bits_of<Narrow>(middle) != even;
    wrong += bits_of<Narrow>(-middle) != (even | 0x8000u);
    wrong += bits_of<Narrow>(std::nextafter(middle, high)) != bits + 1;
    wrong += bits_of<Narrow>(std::nextafter(middle, low)) != bits;
    wrong += bits_of<Narrow>(-std::nextafter(middle, high)) != ((bits + 1) | 0x8000u);
  }
  return wrong;
}

}  // namespace

TEST_CASE("a double becomes half or bfloat16 in one rounding") {
  CHECK(wrong_roundings<Eigen::half>(5, 0x7bffu) == 0);
  CHECK(wrong_roundings<Eigen::bfloat16>(8, 0x7f7fu) == 0);
}

TEST_CASE("a double becomes float in one rounding, and stays a double") {
  const double middle = 1.0 + 0x1p-24;
  CHECK(detail::round_once<float>(middle) == 1.0f);
  CHECK(detail::round_once<float>(std::nextafter(middle, 2.0)) == 1.0f + 0x1p-23f);
  CHECK(detail::round_once<double>(middle) == middle);
}

TEST_CASE("the distance from 1 to the next number") {
  CHECK(detail::distance_after_one<double>() == std::numeric_limits<double>::epsilon());
  CHECK(detail::distance_after_one<float>() == 0x1p-23);
  CHECK(detail::distance_after_one<Eigen::half>() == 0x1p-10);
  CHECK(detail::distance_after_one<Eigen::bfloat16>() == 0x1p-7);
  CHECK(detail::power_of_two(3) == 8.0);
  CHECK(detail::power_of_two(-1022) == (std::numeric_limits<double>::min)());
}
