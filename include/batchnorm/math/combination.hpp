// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_COMBINATION_HPP
#define BATCHNORM_MATH_COMBINATION_HPP

#include <Eigen/Core>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/version.hpp"

// What derivatives of a normalisation are made of: combinations of the centred input and of one or
// two more arrays, with coefficients per channel that follow from sums of their products. The
// formulas here are compiled in programs that call jvp, double_backward or a backward with gamma
// and beta per example, and in no others.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Of the inputs x and v, with centred = x - k0:
///
///     y = k1 v + centred k2 + k3
struct Combination {
  static constexpr int inputs = 2;
  static constexpr int required_inputs = 2;
  static constexpr int outputs = 1;
  static constexpr int coefficients = 4;
  static constexpr int required_coefficients = 4;
  static constexpr bool plain_with_epilogue = true;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k, const FormulaOptions<V>&) {
    y[0] = k[1] * x[1] + ((x[0] - k[0]) * k[2] + k[3]);
  }
};

/// Of the inputs x, g and v:
///
///     y_0 = k1 g + (k4 v + centred k2 + k3)     y_1 = k5 v + centred k6 + k7
///
/// where options.fixed_statistics leaves k1 g alone of y_0: the rest of it comes through the
/// statistics, and is what is multiplied by the weight of a value.
struct TwoCombinations {
  static constexpr int inputs = 3;
  static constexpr int required_inputs = 3;
  static constexpr int outputs = 2;
  static constexpr int coefficients = 8;
  static constexpr int required_coefficients = 8;
  static constexpr bool plain_with_epilogue = true;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k,
                                           const FormulaOptions<V>& options) {
    const V centred = x[0] - k[0];
    if (options.fixed_statistics) {
      y[0] = k[1] * x[1];
    } else {
      y[0] = k[1] * x[1] + (k[4] * x[2] + (centred * k[2] + k[3]));
    }
    y[1] = k[5] * x[2] + (centred * k[6] + k[7]);
  }
};

/// The terms of sum v, sum v h, sum g, sum g h and sum v g, with h = (x - k0) k1; inputs x, g, v.
struct ProductTerms {
  static constexpr int inputs = 3;
  static constexpr int required_inputs = 3;
  static constexpr int sums = 5;
  static constexpr int coefficients = 2;
  static constexpr int required_coefficients = 2;
  static constexpr bool plain_with_epilogue = true;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k, const FormulaOptions<V>&) {
    const V h = (x[0] - k[0]) * k[1];
    s[0] += x[2];
    s[1] += x[2] * h;
    s[2] += x[1];
    s[3] += x[1] * h;
    s[4] += x[2] * x[1];
  }
};

/// Pivots, 1 / sqrt(variance + epsilon) and the coefficients of a Combination, one table each.
template <class T>
class CombinationTables {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  explicit CombinationTables(Index channels) : rounded_(channels, 9), wide_(channels, 2) {}

  Index channels() const { return rounded_.rows(); }
  C* k(int i) { return rounded_.data() + i * channels(); }
  C* pivot() { return k(0); }
  C* scale() { return k(1); }                             ///< until k1 is written over it
  C* shift() { return k(2); }                             ///< until k2 is
  C* inverse() { return k(8); }                           ///< r = 1 / sqrt(variance + epsilon)
  A* wide_inverse() { return wide_.data(); }              ///< r
  A* pivot_error() { return wide_.data() + channels(); }  ///< (mean - pivot) r

 private:
  ChannelTables<C, Eigen::Dynamic, 9> rounded_;
  ChannelTables<A, Eigen::Dynamic, 2> wide_;
};

/// Writes what centred is multiplied by, and what is added, for factor h + summand: centred r is
/// h + pivot_error.
template <class A, int Lanes, class C>
[[gnu::always_inline]] inline void store_linear(C* multiplier, C* constant,
                                                const ChannelGroup& group,
                                                const simd::Vector<A, Lanes>& factor,
                                                const simd::Vector<A, Lanes>& summand,
                                                const simd::Vector<A, Lanes>& r,
                                                const simd::Vector<A, Lanes>& error) {
  using V = simd::Vector<A, Lanes>;
  simd::store<A, Lanes>(multiplier + group.first, V(factor * r));
  simd::store<A, Lanes>(constant + group.first, V(summand - factor * error));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_COMBINATION_HPP
