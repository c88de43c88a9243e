// SPDX-License-Identifier: MIT
// half and bfloat16 converted slowly: from the definition of IEEE 754, one field at a time.
#ifndef BATCHNORM_TESTS_LOOPS_SIXTEEN_BITS_HPP
#define BATCHNORM_TESTS_LOOPS_SIXTEEN_BITS_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "support/generators.hpp"

namespace batchnorm_test {

struct Format {
  int mantissa_bits;
  int bias;
  std::uint32_t exponents() const { return 0x7fffu >> mantissa_bits; }
};
template <class T>
inline constexpr Format format_of = {10, 15};
template <>
inline constexpr Format format_of<Eigen::bfloat16> = {7, 127};

inline std::uint32_t bits_of(float number) {
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

/// NaN keeps its sign and what is first in its mantissa, and is quiet.
inline float slowly_widened(const Format& format, std::uint32_t bits) {
  const std::uint32_t mantissa = bits & ((1u << format.mantissa_bits) - 1);
  const std::uint32_t exponent = (bits & 0x7fffu) >> format.mantissa_bits;
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  if (exponent == format.exponents()) {
    const std::uint32_t quiet = mantissa == 0 ? 0 : 0x00400000u;
    return float_of(sign | 0x7f800000u | quiet | mantissa << (23 - format.mantissa_bits));
  }
  const int scale = -format.bias - format.mantissa_bits;
  const double size = exponent == 0 ? std::ldexp(mantissa, scale + 1)
                                    : std::ldexp((1u << format.mantissa_bits) + mantissa,
                                                 scale + static_cast<int>(exponent));
  return static_cast<float>(sign == 0 ? size : -size);
}

inline std::uint32_t slowly_narrowed(const Format& format, float number) {
  const std::uint32_t sign = bits_of(number) >> 16 & 0x8000u;
  const std::uint32_t infinity = format.exponents() << format.mantissa_bits;
  if (std::isnan(number)) {
    const std::uint32_t first = (bits_of(number) & 0x7fffffu) >> (23 - format.mantissa_bits);
    return sign | infinity | 1u << (format.mantissa_bits - 1) | first;
  }
  const double size = std::fabs(static_cast<double>(number));
  if (std::isinf(size)) return sign | infinity;
  int exponent = 0;
  std::frexp(size, &exponent);
  // The place of the last bit; denormal numbers all have the same.
  int last = exponent - 1 - format.mantissa_bits;
  if (last < 1 - format.bias - format.mantissa_bits || size == 0) {
    last = 1 - format.bias - format.mantissa_bits;
  }
  const double units = std::ldexp(size, -last);
  auto whole = static_cast<std::uint32_t>(units);
  const double rest = units - whole;
  if (rest > 0.5 || (rest == 0.5 && whole % 2 == 1)) ++whole;
  // A normal number's first bit carries into the exponent, as does a mantissa rounded up.
  const int above_denormal = last - (1 - format.bias - format.mantissa_bits);
  const std::uint32_t result =
      whole + (static_cast<std::uint32_t>(above_denormal) << format.mantissa_bits);
  return sign | (result < infinity ? result : infinity);
}

/// Every number of the format, the midpoint to the next one, and the floats around both; and
/// patterns at random, among them NaN of all kinds.
inline std::vector<float> numbers_to_narrow(const Format& format) {
  std::vector<float> all;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const std::uint32_t at = bits_of(slowly_widened(format, bits));
    const std::uint32_t half_way = 1u << (22 - format.mantissa_bits);
    for (const std::uint32_t center : {at, at + half_way}) {
      for (const std::uint32_t beside : {center - 1, center, center + 1}) {
        all.push_back(float_of(beside));
      }
    }
    // Midpoints of denormal numbers are not half a float's last place away.
    const double next = slowly_widened(format, bits + 1 < 65536 ? bits + 1 : bits);
    const auto middle = static_cast<float>(0.5 * (slowly_widened(format, bits) + next));
    for (const float number : {middle, std::nextafter(middle, 0.0f)}) all.push_back(number);
  }
  Random random(3);
  for (int i = 0; i < 50000; ++i)
    all.push_back(float_of(static_cast<std::uint32_t>(random.bits())));
  for (int i = 0; i < 1000; ++i) {
    all.push_back(float_of(0x7f800000u | static_cast<std::uint32_t>(random.bits())));
  }
  all.resize(all.size() / 32 * 32);  // whole pairs of the longest vectors
  return all;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_SIXTEEN_BITS_HPP
