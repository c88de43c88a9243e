// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_BACKWARD_HPP
#define BATCHNORM_MATH_BACKWARD_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/input.hpp"

// Back-propagation, for one channel of n values. Given dy = dL/dy, and with
//
//     r = 1 / sqrt(v + epsilon)     xhat_i = (x_i - m) r     y_i = gamma xhat_i + beta
//
// the parameters follow at once (Ioffe and Szegedy 2015, section 3, the last two equations):
//
//     dL/dbeta  = sum_i dy_i                    = S1
//     dL/dgamma = sum_i dy_i xhat_i             = r S2,    S2 = sum_i dy_i (x_i - m)
//
// Statistics held constant (frozen): y is linear in x, so dL/dx_i = gamma r dy_i.
//
// Through the minibatch's statistics, m and v depend on every x_i. With g_i = gamma dy_i =
// dL/dxhat_i the paper's equations are
//
//     dL/dv   = sum_i g_i (x_i - m) (-1/2) r^3             = -(1/2) gamma r^3 S2
//     dL/dm   = -r sum_i g_i + dL/dv (-2/n) sum_i (x_i - m) = -gamma r S1
//     dL/dx_i = g_i r + dL/dv (2/n) (x_i - m) + dL/dm / n
//
// where the second sum of dL/dm vanishes because m is the mean. Inserted:
//
//     dL/dx_i = gamma r [ dy_i - S1/n - (x_i - m) r^2 S2/n ]
//
// which is one reduction to (S1, r S2) and one map. As in normalize.hpp x is taken relative to the
// pivot p, m rounded: x_i - m = (x_i - p) - (m - p), so
//
//     r S2 = sum_i dy_i (x_i - p) r - (m - p) r S1
//     dL/dx_i = a [ dy_i + (x_i - p) b + c ]
//     a = gamma r     b = -r (r S2) / n     c = -S1/n - (m - p) b
//
// The terms of r S2 are products of numbers of the order of one, so that they stay in the range of
// float whatever the range of the data.
//
// With weights w_i, W = sum_i w_i, of which a mask has 1 and 0 (math/masked.hpp):
//
//     m = sum_i w_i x_i / W     v = sum_i w_i (x_i - m)^2 / W
//     dm/dx_i = w_i / W         dv/dx_i = 2 (w_i / W) (x_i - m)
//
// so that, with h_i = xhat_i and sums over all outputs that count for the loss, whatever their
// weights,
//
//     dL/dv   = -(1/2) gamma r^3 S2     dL/dm = -gamma r S1
//     dL/dx_i = gamma r [ dy_i - (w_i/W) S1 - (w_i/W) h_i sum_j dy_j h_j ]
//
// The second sum of dL/dm vanishes as before, sum_i w_i (x_i - m) = 0. An x_i of weight 0 does not
// move the statistics: dL/dx_i = gamma r dy_i. But as its output depends on them, its dy_i is in
// the sums. What is not finite there is taken for what nobody uses, and left out of them.
//
// With an epilogue f, and a residual, y = f(z), z = gamma xhat + beta + residual, everything above
// holds for f'(z) dL/dy in the place of dL/dy. Nothing is stored for it: z is computed again from
// the inputs. dL/dresidual = f'(z) dL/dy.
//
namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Makes, value by value, g = f'(z) dy and the centred value that xhat is a multiple of, from the
/// input x, dy and a residual. k: scale and shift, when there is an epilogue.
///
/// @tparam C  the type that forward computes in. The sign of z is found in it also where sums are
///            wider: a last bit more could turn it around.
template <class C>
struct FromInput {
  static constexpr int inputs = 3;
  static constexpr int coefficients = 2;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void split(V& g, V& centred, const V* x, const V& pivot, const V* k,
                                           const FormulaOptions<V>& options) {
    centred = x[0] - pivot;
    g = x[1];
    if (Plain || !options.rectified) return;
    // With a slope of 0 the gradient is 0, be dy infinite.
    V below = g * options.slope;
    simd::keep_where_positive(below, options.slope, V{0});
    V z;
    if constexpr (std::is_arithmetic<V>::value && !std::is_same<V, C>::value) {
      C narrow;
      centred_form(narrow, convert<C>(x[0]), convert<C>(pivot), convert<C>(k[0]), convert<C>(k[1]));
      narrow += convert<C>(x[2]);
      z = convert<V>(narrow);
    } else {
      centred_form(z, x[0], pivot, k[0], k[1]);
      z += x[2];
    }
    simd::keep_where_positive(g, z, below);
  }
};

/// Fills tables with what the input is centred and multiplied by.
template <class A, class C, class P, class Tables>
void fill_input_tables(Tables& tables, Index channels, CentredCoefficients<A, C, P> coefficients) {
  coefficients.pivot = tables.pivot();
  coefficients.scale = tables.scale();
  coefficients.shift = tables.shift();
  coefficients.rounded_inverse = tables.inverse();
  coefficients.inverse = tables.wide_inverse();
  coefficients.pivot_error = tables.pivot_error();
  for_channels<A>(0, channels, coefficients);
}

/// Tables for backward from the input.
template <class T, int Channels>
GradientTables<T, Channels> input_tables(const Options& options, const State<T, Channels>& state,
                                         const StatisticsView<accumulator_t<T>>& statistics) {
  GradientTables<T, Channels> tables(state.channels());
  fill_input_tables(tables, state.channels(),
                    CentredCoefficients<accumulator_t<T>, parameter_t<T>>{
                        statistics, parameters_of(options, state)});
  return tables;
}

template <class T, int Channels>
using InputBackward = BackwardPass<FromInput<parameter_t<T>>, T, Channels>;

/// What a minibatch is divided by, and whether it is: not where the statistics do not depend on x.
template <class A>
struct MinibatchDivisor {
  A divisor;
  bool fixed;
  bool empty = false;  ///< nothing counts

  /// @param batch  of one value, it was normalised with the running statistics
  template <int Channels>
  explicit MinibatchDivisor(const Moments<A, Channels>& batch)
      : divisor(batch.divisor(0)), fixed(batch.count == 1), empty(batch.count == 0) {}
  /// Running statistics.
  MinibatchDivisor() : divisor(1), fixed(true) {}
};

template <class T, int Channels>
InputBackward<T, Channels> input_backward(const Options& options,
                                          const MinibatchDivisor<accumulator_t<T>>& divisor,
                                          GradientTables<T, Channels>& tables,
                                          const InputViews<T>& in,
                                          const BatchView<const T>& out_gradient) {
  auto formula = formula_options<parameter_t<T>>(options.epilogue, in.residual != nullptr);
  formula.fixed_statistics = divisor.fixed;
  return {formula, tables, in, out_gradient, divisor.divisor};
}

/// The second half of backward on a piece of a minibatch.
template <class T, int Channels>
void piece_gradients(const Options& options, const State<T, Channels>& state,
                     const StatisticsView<accumulator_t<T>>& statistics,
                     const MinibatchDivisor<accumulator_t<T>>& divisor,
                     const GradientSums<accumulator_t<T>, Channels>& sums, const InputViews<T>& in,
                     const BatchView<const T>& out_gradient, const GradientOutput<T>& in_gradient,
                     const Execution& execution) {
  const GradientViews<T> to{in_gradient.view(), in_gradient.residual()};
  if (divisor.empty) return fill_gradients(in, out_gradient, to, execution);
  auto tables = input_tables(options, state, statistics);
  input_backward(options, divisor, tables, in, out_gradient).map_with(execution, sums, to);
}

/// Both halves of backward on a whole minibatch.
template <class T, int Channels>
Gradients<T, Channels> input_gradients(const Options& options, const State<T, Channels>& state,
                                       const StatisticsView<accumulator_t<T>>& statistics,
                                       const MinibatchDivisor<accumulator_t<T>>& divisor,
                                       const InputViews<T>& in,
                                       const BatchView<const T>& out_gradient,
                                       const GradientOutput<T>& in_gradient,
                                       const Execution& execution) {
  const GradientViews<T> to{in_gradient.view(), in_gradient.residual()};
  if (divisor.empty || in.x.empty()) {
    fill_gradients(in, out_gradient, to, execution);
    return Gradients<T, Channels>(state.channels());
  }
  GradientSums<accumulator_t<T>, Channels> sums(state.channels());
  auto tables = input_tables(options, state, statistics);
  input_backward(options, divisor, tables, in, out_gradient).run(execution, sums, to);
  return gradients_of<T>(options, sums);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_BACKWARD_HPP
