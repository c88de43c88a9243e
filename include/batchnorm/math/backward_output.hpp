// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_BACKWARD_OUTPUT_HPP
#define BATCHNORM_MATH_BACKWARD_OUTPUT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Back-propagation from the output (Rota Bulo, Porzi and Kontschieder 2018, arXiv:1712.02616,
// section 3), where f can be undone: z = y for y > 0, y / slope below, and xhat = (z - beta) /
// gamma. Then z takes the place of x, beta that of m and of p, and 1 / gamma that of r in the two
// sums:
//
//     r S2 = sum_i f'(z_i) dy_i (z_i - beta) / gamma
//     dL/dx_i = a [ f'(z_i) dy_i + (z_i - beta) b + c ]      b = -(r S2) / (n gamma)   c = -S1/n

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// From the output y and dy.
struct FromOutput {
  static constexpr int inputs = 2;
  static constexpr int coefficients = 0;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void split(V& g, V& centred, const V* x, const V& pivot, const V*,
                                           const FormulaOptions<V>& options) {
    V z = x[0];
    g = x[1];
    if (!Plain && options.rectified) {
      const V below = g * options.slope;
      simd::keep_where_positive(g, z, below);
      const V undone = z * options.inverse_slope;
      simd::replace_negative(z, undone);
    }
    centred = z - pivot;
  }
};

/// Tables for backward from the output.
template <class T, int Channels>
GradientTables<T, Channels> output_tables(const Options& options, const State<T, Channels>& state,
                                          const StatisticsView<accumulator_t<T>>& statistics) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  GradientTables<T, Channels> tables(state.channels());
  CentredCoefficients<A, C> coefficients{statistics, parameters_of(options, state)};
  coefficients.pivot = tables.pivot();
  coefficients.scale = tables.scale();
  coefficients.shift = tables.shift();
  for_channels<A>(0, state.channels(), coefficients);
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const A inverse = A(1) / gamma_of(options, state, channel);
    tables.pivot()[channel] = convert<C>(beta_of(options, state, channel));
    tables.wide_inverse()[channel] = inverse;
    tables.inverse()[channel] = convert<C>(inverse);
  }
  return tables;
}

template <class T, int Channels>
using OutputBackward = BackwardPass<FromOutput, T, Channels>;

/// The largest error of a recovered xhat, in deviations, that is still worth back-propagating.
inline constexpr double largest_recovery_error = 1.0 / 128.0;

/// Refuses layers whose output does not tell their input: with an epilogue that has no inverse, or
/// with a gamma so small beside beta that the rounding of y, u |y|, leaves too little of
/// xhat = (z - beta) / gamma: its error is about u (|xhat| + |beta / gamma|). A small slope adds
/// what it pushes below the smallest number of T.
template <class T, int Channels>
void check_invertible(const char* function, const Options& options,
                      const State<T, Channels>& state) {
  using A = accumulator_t<T>;
  using std::abs;
  const double slope = options.epilogue.slope();
  if (!(slope > 0.0) || !is_finite_as<parameter_t<T>>(1.0 / slope)) {
    fail_argument(function, "the epilogue has to be undone",
                  "none, or a leaky ReLU with a slope larger than 0",
                  slope > 0.0 ? std::string(text("a slope of ", slope, ", whose inverse overflows"))
                              : "ReLU");
  }
  // Not half of epsilon(): that of half is an eighth of what it should be in Eigen 3.4.0.
  const A unit(std::ldexp(1.0, -std::numeric_limits<T>::digits));
  const A lost =
      slope < 1.0 ? convert<A>(std::numeric_limits<T>::denorm_min()) / A(2 * slope) : A(0);
  const A smallest = convert<A>((std::numeric_limits<parameter_t<T>>::min)());
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const A gamma = abs(gamma_of(options, state, channel));
    const A rounding = unit * (gamma + A(abs(beta_of(options, state, channel)))) + lost;
    const A least = (std::max)(smallest, A(rounding / A(largest_recovery_error)));
    if (gamma >= least) continue;
    fail_domain(function, text("gamma of channel ", channel, " is divided by"),
                text("at least ", static_cast<double>(least),
                     " in size, so that the input can be recovered; use backward"),
                text(static_cast<double>(gamma)));
  }
}

/// Both halves of backward from the output of a whole minibatch.
template <class T, int Channels>
Gradients<T, Channels> output_gradients(const Options& options, const State<T, Channels>& state,
                                        const StatisticsView<accumulator_t<T>>& statistics,
                                        const MinibatchDivisor<accumulator_t<T>>& divisor,
                                        const InputViews<T>& out,
                                        const BatchView<const T>& out_gradient,
                                        const BatchView<T>& in_gradient,
                                        const Execution& execution) {
  if (divisor.empty) {
    fill_gradients(out, out_gradient, {in_gradient}, execution);
    return Gradients<T, Channels>(state.channels());
  }
  GradientSums<accumulator_t<T>, Channels> sums(state.channels());
  auto tables = output_tables(options, state, statistics);
  auto formula = formula_options<parameter_t<T>>(options.epilogue, false);
  formula.fixed_statistics = divisor.fixed;
  OutputBackward<T, Channels>(formula, tables, out, out_gradient, divisor.divisor)
      .run(execution, sums, {in_gradient});
  return gradients_of<T>(options, sums);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_BACKWARD_OUTPUT_HPP
