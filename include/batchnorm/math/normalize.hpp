// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_HPP
#define BATCHNORM_MATH_NORMALIZE_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/kernel.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The forward map (Ioffe and Szegedy 2015, algorithm 1, lines 3 and 4),
//
//     y = gamma (x - mean) / sqrt(variance + epsilon) + beta
//
// is computed in its centred form,
//
//     y = (x - pivot) scale + shift        pivot = mean, rounded to the type computed in
//                                          scale = gamma / sqrt(variance + epsilon)
//                                          shift = beta - (mean - pivot) scale
//
// so that its error does not grow with the mean, as that of a x + b does: there, two large numbers
// of opposite sign meet. What rounding takes from the mean, the shift gives back. The epilogue f
// and the residual are applied to the result while it is in a register.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The centred form of one value, z. Forward and backward share it, so that the sign that backward
/// finds is the one that forward saw.
template <class V>
[[gnu::always_inline]] inline void centred_form(V& z, const V& x, const V& pivot, const V& scale,
                                                const V& shift) {
  z = (x - pivot) * scale + shift;
}

/// z < 0 becomes slope z. A slope of 0 gives 0 for minus infinity, too.
template <class V>
[[gnu::always_inline]] inline void apply_epilogue(V& z, const V& slope) {
  V below = z * slope;
  simd::keep_where_positive(below, slope, V{0});
  simd::replace_negative(z, below);
}

/// y = f(z) or f(z + residual); inputs x and the residual, coefficients pivot, scale and shift.
struct Forward {
  static constexpr int inputs = 2;
  static constexpr int required_inputs = 1;
  static constexpr int outputs = 1;
  static constexpr int coefficients = 3;
  static constexpr int required_coefficients = 3;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k,
                                           const FormulaOptions<V>& options) {
    centred_form(y[0], x[0], k[0], k[1], k[2]);
    if constexpr (!Plain) y[0] += x[1];
    if (options.rectified) apply_epilogue(y[0], options.slope);
  }
};

template <class C>
FormulaOptions<C> formula_options(const Epilogue& epilogue, bool residual) {
  FormulaOptions<C> options{convert<C>(epilogue.slope()), convert<C>(1.0 / epilogue.slope())};
  options.rectified = !epilogue.is_identity();
  options.residual = residual;
  return options;
}

/// An input, and the residual that is added to what becomes of it, where there is one.
template <class T>
struct InputViews {
  BatchView<const T> x;
  const BatchView<const T>* residual = nullptr;
};

/// The operands of the forward map, and their shapes.
template <class T>
struct ForwardOperands {
  Operands<T> data;
  ViewShape output;
  ViewShape inputs[2];

  ForwardOperands(const InputViews<T>& in, const BatchView<T>& out)
      : output(out), inputs{ViewShape(in.x), ViewShape()} {
    data.from[0] = in.x.data();
    data.inputs = 1;
    data.to[0] = out.data();
    data.outputs = 1;
    if (in.residual == nullptr) return;
    data.from[1] = in.residual->data();
    data.inputs = 2;
    inputs[1] = ViewShape(*in.residual);
  }
};

/// Computes the coefficients of the forward map for the channels that are wanted.
template <class T>
class ForwardSource final : public CoefficientSource<parameter_t<T>> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  ForwardSource(const StatisticsView<A>& statistics, const ParameterView<C>& parameters)
      : coefficients_{statistics, parameters} {}

  void write(Index first, Index last, C* const* to) const override {
    CentredCoefficients<A, C> coefficients = coefficients_;
    coefficients.first = first;
    coefficients.pivot = to[0];
    coefficients.scale = to[1];
    coefficients.shift = to[2];
    for_channels<A>(first, last, coefficients);
  }

 private:
  CentredCoefficients<A, C> coefficients_;
};

/// Normalises `in` into `out`, with the coefficients of a source.
template <class T>
void normalize_view(const Execution& execution, const Epilogue& epilogue,
                    const CoefficientSource<parameter_t<T>>& source, const InputViews<T>& in,
                    const BatchView<T>& out) {
  using C = parameter_t<T>;
  const ForwardOperands<T> operands(in, out);
  const FormulaCall<T> call(map_kernels<Forward, T>, source,
                            formula_options<C>(epilogue, in.residual != nullptr));
  map<T>(execution, call, operands.data, &operands.output, operands.inputs);
}

/// The same with coefficients that are computed once for all channels. Allocates three numbers per
/// channel, unless their number is fixed.
template <int Channels, class T>
void normalize_with_tables(const Options& options, const State<T, Channels>& state,
                           const StatisticsView<accumulator_t<T>>& statistics,
                           const InputViews<T>& in, const BatchView<T>& out,
                           const Execution& execution) {
  using C = parameter_t<T>;
  Eigen::Matrix<C, Channels, 3,
                static_cast<int>(Eigen::ColMajor) | static_cast<int>(Eigen::DontAlign)>
      k(state.channels(), 3);
  C* const to[] = {k.col(0).data(), k.col(1).data(), k.col(2).data()};
  ForwardSource<T>(statistics, parameters_of(options, state)).write(0, state.channels(), to);
  const TableSource<C> tables{to[0], to[1], to[2]};
  normalize_view<T>(execution, options.epilogue, tables, in, out);
}

/// Moments and output of a minibatch, channel by channel where that saves a pass over memory. Only
/// where no minibatch is rejected: a channel is written before the next one is read.
template <class T, int Channels>
Moments<accumulator_t<T>, Channels> normalize_fused(const Options& options,
                                                    const State<T, Channels>& state,
                                                    const InputViews<T>& in,
                                                    const BatchView<T>& out,
                                                    const Execution& execution) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  Moments<A, Channels> batch(state.channels());
  batch.count = in.x.values_per_channel();
  ChannelVector<C, Channels> pivots(state.channels());
  MomentsReduction<T> reduction(batch.count, batch.mean.data(), batch.sum_of_squares.data(),
                                pivots.data());
  const ForwardSource<T> source(statistics_of(batch), parameters_of(options, state));
  const ForwardOperands<T> operands(in, out);
  const Operands<T> reduced = operands_of<T>(in.x);
  const FormulaCall<T> reduce_call(reduction.kernels(), reduction, {C(1), C(1)});
  const FormulaCall<T> map_call(map_kernels<Forward, T>, source,
                                formula_options<C>(options.epilogue, in.residual != nullptr));
  reduce_and_map<T>(execution,
                    {reduction, reduce_call, reduced, map_call, operands.data, MomentSums::sums},
                    &operands.output, operands.inputs);
  return batch;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_NORMALIZE_HPP
