// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DETAIL_ROUNDING_HPP
#define BATCHNORM_DETAIL_ROUNDING_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A float between a double and its final rounding: toward zero, the last bit set when anything was
/// lost ("round to odd"). Rounding it again, to 22 bits or fewer, then gives what rounding the
/// double once would have given (Boldo and Melquiond, IEEE Transactions on Computers 57, 2008).
inline float round_to_odd(double value) {
  float nearest = static_cast<float>(value);
  const double back = static_cast<double>(nearest);
  if (!is_finite(value) || (back <= value && back >= value)) return nearest;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &nearest, sizeof bits);
  // The next float toward zero, whatever the sign; from infinity too.
  if (std::fabs(back) > std::fabs(value)) --bits;
  bits |= 1u;
  std::memcpy(&nearest, &bits, sizeof bits);
  return nearest;
}

template <class T>
constexpr bool is_narrow_float() {
  return std::is_same<T, Eigen::half>::value || std::is_same<T, Eigen::bfloat16>::value;
}

/// A double as T, rounded once.
template <class T>
T round_once(double value) {
  if constexpr (is_narrow_float<T>()) {
    return T(round_to_odd(value));
  } else {
    return static_cast<T>(value);
  }
}

/// 2^exponent for exponents of normal numbers.
constexpr double power_of_two(int exponent) {
  double power = 1.0;
  for (int step = 0; step < exponent; ++step) power *= 2.0;
  for (int step = 0; step > exponent; --step) power /= 2.0;
  return power;
}

/// The distance from 1 to the next number of a binary floating point type. Made from the number of
/// its digits: numeric_limits<half>::epsilon() of Eigen 3.4 is another number.
template <class T>
constexpr double distance_after_one() {
  return power_of_two(1 - std::numeric_limits<T>::digits);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DETAIL_ROUNDING_HPP
