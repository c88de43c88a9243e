// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_HPP
#define BATCHNORM_MATH_NORMALIZE_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"

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
/// finds is the one that forward saw, also where files of a program are compiled differently.
template <class V>
[[gnu::always_inline]] inline void centred_form(V& z, const V& x, const V& pivot, const V& scale,
                                                const V& shift) {
  z = x - pivot;
  simd::multiply_add(z, scale, shift);
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
  static constexpr bool plain_with_epilogue = true;

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
  const SelectedValues<T>* selected = nullptr;  ///< what counts, where that is not everything
};

/// What counts of an input, and the input as views: for one call.
template <class T>
struct SelectedInput {
  SelectedPointer<T> selected;
  InputViews<T> views;
  Index count;  ///< values per channel that count

  SelectedInput(const char* function, const Input<T>& in)
      : selected(selected_of(function, in)),
        views{in.view(), in.residual(), selected.get()},
        count(count_of(selected, in)) {}
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
void normalize_view(const Execution& execution, const FormulaOptions<parameter_t<T>>& options,
                    const CoefficientSource<parameter_t<T>>& source, const InputViews<T>& in,
                    const BatchView<T>& out) {
  const ForwardOperands<T> operands(in, out);
  const FormulaCall<T> call(map_kernels<Forward, T>, source, options);
  if (in.selected != nullptr && !in.selected->maps_all()) {
    in.selected->map(execution, call, operands.data, &operands.output, operands.inputs);
  } else {
    map<T>(execution, call, operands.data, &operands.output, operands.inputs);
  }
}

template <class T>
void normalize_view(const Execution& execution, const Epilogue& epilogue,
                    const CoefficientSource<parameter_t<T>>& source, const InputViews<T>& in,
                    const BatchView<T>& out) {
  normalize_view<T>(execution, formula_options<parameter_t<T>>(epilogue, in.residual != nullptr),
                    source, in, out);
}

/// Normalises an input with statistics whose coefficients are computed channel by channel.
template <class T, int Channels>
void write_output(const Options& options, const State<T, Channels>& state,
                  const StatisticsView<accumulator_t<T>>& use, const InputViews<T>& in,
                  const Output<T>& out, const Execution& execution) {
  const ForwardSource<T> source(use, parameters_of(options, state));
  normalize_view<T>(execution, options.epilogue, source, in, out.view());
}

/// Writes the output of a minibatch in which nothing counts.
template <class T>
void fill_output(const InputViews<T>& in, const BatchView<T>& out, const Execution& execution) {
  if (in.selected == nullptr) return;
  const ForwardOperands<T> operands(in, out);
  in.selected->fill(execution, operands.data, &operands.output, operands.inputs, 0);
}

/// Normalises an input with coefficients that are computed once for all channels. Allocates three
/// numbers per channel, unless their number is fixed.
template <int Channels, class T>
void normalize_with_tables(const Options& options, const State<T, Channels>& state,
                           const StatisticsView<accumulator_t<T>>& statistics,
                           const InputViews<T>& in, const BatchView<T>& out,
                           const Execution& execution) {
  using C = parameter_t<T>;
  const Index channels = state.channels();
  TableVector<C, Channels, 3> k(3 * channels);
  C* const to[] = {k.data(), k.data() + channels, k.data() + 2 * channels};
  ForwardSource<T>(statistics, parameters_of(options, state)).write(0, channels, to);
  normalize_view<T>(execution, options.epilogue, TableSource<C>{to[0], to[1], to[2]}, in, out);
}

/// Moments of a minibatch, and its output where that saves a pass over memory: a channel is written
/// before the next one is read.
/// @param batch  moments of zeros, of as many channels, with the count and weight of what counts
/// @return whether the output was written
template <class T, int Channels>
bool moments_and_output(const Options& options, const State<T, Channels>& state,
                        const InputViews<T>& in, const BatchView<T>& out,
                        const Execution& execution, Moments<accumulator_t<T>, Channels>& batch) {
  using C = parameter_t<T>;
  ChannelVector<C, Channels> pivots(state.channels());
  MomentsReduction<T> reduction(batch.divisor(0), batch.mean.data(), batch.sum_of_squares.data(),
                                pivots.data());
  const ForwardSource<T> source(statistics_of(batch), parameters_of(options, state));
  const ForwardOperands<T> operands(in, out);
  const Operands<T> reduced = operands_of<T>(in.x);
  const FormulaCall<T> reduce_call(reduction.kernels(), reduction, {C(1), C(1)});
  const FormulaCall<T> map_call(map_kernels<Forward, T>, source,
                                formula_options<C>(options.epilogue, in.residual != nullptr));
  const ReduceAndMap<T> work{reduction, reduce_call,   reduced,
                             map_call,  operands.data, MomentSums::sums};
  if (in.selected != nullptr) {
    return in.selected->reduce_and_map(execution, work, &operands.output, operands.inputs);
  }
  const ReducerAndMapper<T> loops(execution, work, &operands.output, operands.inputs);
  if (loops.is_fused()) {
    loops.run_fused();
  } else {
    loops.reduce();
  }
  return loops.is_fused();
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_NORMALIZE_HPP
