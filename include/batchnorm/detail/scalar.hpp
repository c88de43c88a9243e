// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DETAIL_SCALAR_HPP
#define BATCHNORM_DETAIL_SCALAR_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Sizes, strides and counts everywhere: 64 bits, so that more than 2^31 elements work.
using Index = Eigen::Index;

namespace detail {

/// Whether numbers of a type can be divided and ordered, as normalising them takes: every scalar
/// of Eigen's but integers, bool and characters, whose means are cut off, and complex numbers.
template <class T>
inline constexpr bool is_real_scalar =
    !Eigen::NumTraits<T>::IsInteger && !Eigen::NumTraits<T>::IsComplex;

/// What every layer, state and function asks about the scalar of its data, so that a wrong one ends
/// here wherever it comes in.
template <class T>
struct ScalarTraits {
  static_assert(is_real_scalar<T>,
                "batchnorm: data must be of a real scalar with fractions, such as float, double, "
                "half or bfloat16; convert integers, bool and characters with cast<float>(), and "
                "take complex numbers apart");
  using Accumulator = T;
  using Parameter = T;
};
template <>
struct ScalarTraits<float> {
  using Accumulator = double;
  using Parameter = float;
};
template <>
struct ScalarTraits<Eigen::half> {
  using Accumulator = double;
  using Parameter = float;
};
template <>
struct ScalarTraits<Eigen::bfloat16> {
  using Accumulator = double;
  using Parameter = float;
};

}  // namespace detail

/// The type in which moments and running statistics of T are summed and kept: double for float,
/// half and bfloat16, T itself for every other scalar.
template <class T>
using accumulator_t = typename detail::ScalarTraits<T>::Accumulator;

/// The type of gamma and beta, and the one the maps compute in: float for half and bfloat16, T
/// itself for every other scalar.
template <class T>
using parameter_t = typename detail::ScalarTraits<T>::Parameter;

namespace detail {
/// A constant of its own: g++ 12 leaves members whose type has the expression in it out of explicit
/// instantiations.
template <int Channels>
inline constexpr int channel_vector_options = static_cast<int>(Eigen::ColMajor) |
                                              (Channels == Eigen::Dynamic
                                                   ? static_cast<int>(Eigen::AutoAlign)
                                                   : static_cast<int>(Eigen::DontAlign));
}  // namespace detail

/// One number per channel. With Channels fixed it lies inside its owner and is deliberately not
/// over-aligned, so that the owner can be stored anywhere and passed by value.
template <class T, int Channels = Eigen::Dynamic>
using ChannelVector = Eigen::Matrix<T, Channels, 1, detail::channel_vector_options<Channels>>;

namespace detail {

/// `Count` numbers per channel, those of one kind next to one another. Eigen refuses one row by
/// columns; where there is one channel it is the same memory by rows.
template <class T, int Channels, int Count>
using ChannelTables = Eigen::Matrix<T, Channels, Count,
                                    (Channels == 1 ? static_cast<int>(Eigen::RowMajor)
                                                   : static_cast<int>(Eigen::ColMajor)) |
                                        static_cast<int>(Eigen::DontAlign)>;

/// The same memory as one vector. Dynamic, it has the type of all numbers per channel: every other
/// one of Eigen's is compiled anew.
template <class T, int Channels, int Count>
using TableVector =
    ChannelVector<T, Channels == Eigen::Dynamic ? Eigen::Dynamic : Count * Channels>;

/// A vector of which every entry is that number. A loop over a number that the compiler knows, so
/// that zeros become memset: the expressions Zero, Ones and Constant take a hundred functions each
/// to compile.
template <int Number, class Vector>
Vector filled(Index size) {
  Vector vector;
  vector.resize(size);
  std::fill(vector.data(), vector.data() + size, typename Vector::Scalar(Number));
  return vector;
}

/// A count as a number of type A; scalars of other libraries are reached through double.
template <class A>
A from_index(Index count) {
  if constexpr (std::is_arithmetic<A>::value) {
    return static_cast<A>(count);
  } else {
    return A(static_cast<double>(count));
  }
}

/// A number of one scalar type as another, rounded once.
template <class To, class From>
To convert(const From& value) {
  if constexpr (std::is_same<To, From>::value) {
    return value;
  } else {
    return static_cast<To>(value);
  }
}

/// True when the exponent field of a binary floating point number is all ones. Compilers may
/// assume under -ffast-math that std::isfinite is always true; the bits do not lie.
template <class Bits, class Real>
bool has_finite_exponent(Real value, Bits exponent_mask) {
  static_assert(sizeof(Bits) == sizeof(Real), "one bit pattern for one number");
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & exponent_mask) != exponent_mask;
}

/// Whether a value is neither NaN nor infinite, also under -ffast-math for the built-in types.
template <class Real>
bool is_finite(const Real& value) {
  if constexpr (std::is_same<Real, float>::value) {
    return has_finite_exponent(value, std::uint32_t{0x7f800000u});
  } else if constexpr (std::is_same<Real, double>::value) {
    return has_finite_exponent(value, std::uint64_t{0x7ff0000000000000u});
  } else if constexpr (std::is_same<Real, long double>::value) {
    if constexpr (std::numeric_limits<long double>::digits == 53) {
      return is_finite(static_cast<double>(value));
    } else if constexpr (std::numeric_limits<long double>::digits == 64 ||
                         std::numeric_limits<long double>::digits == 113) {
      // x87 keeps sign and exponent in bytes 8 and 9, IEEE binary128 in bytes 14 and 15.
      constexpr std::size_t top = std::numeric_limits<long double>::digits == 64 ? 8 : 14;
      unsigned char bytes[sizeof(long double)];
      std::memcpy(bytes, &value, sizeof bytes);
      return !(bytes[top] == 0xff && (bytes[top + 1] & 0x7f) == 0x7f);
    } else {
      return value - value == 0;
    }
  } else {
    return value - value == Real(0);
  }
}

/// Whether a value is below zero, minus infinity included; never true of NaN, also where compilers
/// may assume that there is none and turn a comparison around. 1 / -infinity is finite, 1 / NaN
/// not.
template <class Real>
bool is_negative(const Real& value) {
  return value < Real(0) && (is_finite(value) || is_finite(Real(Real(1) / value)));
}

/// Whether a value is still finite once it is stored as To: a variance of 1e60 is finite in double
/// and infinite in float.
template <class To, class From>
bool is_finite_as(const From& value) {
  return is_finite(value) && is_finite(convert<To>(value));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DETAIL_SCALAR_HPP
