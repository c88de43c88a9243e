// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_TOGETHER_HPP
#define BATCHNORM_MATH_TOGETHER_HPP

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// The sums of a minibatch of which each rank has a part. Between the two loops of forward and
// backward lies the only thing that ranks have to tell each other: two numbers per channel.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Some samples of a view.
template <class T>
BatchView<T> some_samples(const BatchView<T>& view, Index first, Index samples) {
  T* const data = first == 0 ? view.data() : view.data() + first * view.sample_stride();
  return BatchView<T>(data, samples, view.channels(), view.positions(), view.sample_stride(),
                      view.channel_stride(), view.position_stride())
      .counted(view.position_order());
}

inline std::uint64_t fingerprint_of(const Options& options) {
  return Fingerprint()
      .add(options.epsilon)
      .add(static_cast<std::uint64_t>(options.running.rule()))
      .add(options.running.new_weight())
      .add(static_cast<std::uint64_t>(options.running.window()))
      .add(options.epilogue.slope())
      .add(static_cast<std::uint64_t>((options.scale ? 1 : 0) + (options.shift ? 2 : 0) +
                                      4 * static_cast<int>(options.running_variance) +
                                      8 * static_cast<int>(options.non_finite) +
                                      32 * static_cast<int>(options.single_value)))
      .value();
}

/// A few numbers of a minibatch, which the ranks that took part in it have to the same bits.
template <class A, int Channels>
std::uint64_t fingerprint_of(const Moments<A, Channels>& batch) {
  Fingerprint print;
  print.add(static_cast<std::uint64_t>(batch.count)).add(batch.weight());
  const Index some = (std::min<Index>)(batch.mean.size(), 16);
  for (Index channel = 0; channel < some; ++channel) {
    print.add(static_cast<double>(batch.mean[channel]));
  }
  return print.value();
}

/// Shares are of numbers in double.
template <class A>
double* share_data(A* numbers) {
  if constexpr (std::is_same<A, double>::value) {
    return numbers;
  } else {
    fail_argument("Execution::with(Synchronize)", "ranks exchange numbers of type double",
                  "a layer of float, double, half or bfloat16", "a layer of another scalar");
  }
}

template <class A, int Channels>
ChannelShare share_of(Moments<A, Channels>& moments) {
  return {moments.count, moments.weight(), moments.squared_weight(),
          share_data(moments.mean.data()), share_data(moments.sum_of_squares.data())};
}
template <class A, int Channels>
ChannelShare share_of(GradientSums<A, Channels>& sums) {
  const double count = static_cast<double>(sums.count);
  return {sums.count, count, count, share_data(sums.output_gradient.data()),
          share_data(sums.normalized.data())};
}

/// Copies what a piece has come to.
template <class Sums>
void give(Sums sums, ChannelShare& to) {
  const ChannelShare from = share_of(sums);
  const Index channels = sums.channels();
  std::copy(from.first, from.first + channels, to.first);
  std::copy(from.second, from.second + channels, to.second);
  to = {from.count, from.weight, from.squared_weight, to.first, to.second};
}

/// The moments of the minibatch that is spread over all ranks.
///
/// @param check  refuses arguments and state of this rank, on behalf of all
template <int Channels, class T, class Check>
Moments<accumulator_t<T>, Channels> moments_together(const Execution& execution,
                                                     CollectiveCall call,
                                                     const BatchView<const T>& view,
                                                     const Check& check) {
  Moments<accumulator_t<T>, Channels> all(call.channels);
  call.samples = view.samples();
  call.scalar = scalar_code<T>();
  const auto piece = [&](Index first, Index samples, ChannelShare& to) {
    if (first == 0) check();
    give(moments_of_view<Channels, T>(some_samples(view, first, samples), execution), to);
  };
  ChannelShare own;
  ChannelShare sums = share_of(all);
  execution.collective()->combine(execution.layer_number(), call, CollectivePiece(piece), own,
                                  sums);
  all.count = sums.count;
  all.set_weight(sums.weight, sums.squared_weight);
  return all;
}

/// The moments of an input that is only looked at, of this rank or of all.
template <class T, class Check>
Moments<accumulator_t<T>> moments_seen(const char* function, const Options& options, Index channels,
                                       const BatchView<const T>& view, const Execution& execution,
                                       const Check& check) {
  if (execution.collective() == nullptr) {
    check();
    return moments_of_view<Eigen::Dynamic, T>(view, execution);
  }
  CollectiveCall call;
  call.function = function;
  call.kind = CollectiveKind::moments;
  call.channels = channels;
  call.options = fingerprint_of(options);
  call.reject_non_finite = options.non_finite == NonFinite::reject;
  return moments_together<Eigen::Dynamic, T>(execution, call, view, check);
}

/// The same for a forward call. What depends on the state of this rank alone is looked at before
/// the ranks talk, so that afterwards they all go on or all fail.
template <class T, int Channels>
Moments<accumulator_t<T>, Channels> forward_together(const char* function, const Options& options,
                                                     const State<T, Channels>& state,
                                                     const Input<T>& in, const Output<T>& out,
                                                     const Execution& execution, bool commit) {
  CollectiveCall call;
  call.function = function;
  call.kind = commit ? CollectiveKind::train : CollectiveKind::normalize;
  call.channels = state.channels();
  call.options = fingerprint_of(options);
  call.state = static_cast<std::uint64_t>(state.batches_seen);
  call.reject_non_finite = options.non_finite == NonFinite::reject;
  return moments_together<Channels, T>(execution, call, in.view(), [&] {
    check_state_shape(function, state);
    check_forward(function, state.channels(), in, out);
    if (!commit) return;
    check_statistics(function, state, options.non_finite);
    check_counter(function, options.running, state);
  });
}

/// Both halves of backward, of which the ranks add up the sums in between.
///
/// @param prepare  checks the arguments of this rank, on behalf of all, and fills the tables
/// @param pass     pass(first, samples): the BackwardPass of some samples
template <class T, int Channels, class Prepare, class Pass>
Gradients<T, Channels> backward_together(const char* function, const Options& options,
                                         const Moments<accumulator_t<T>, Channels>& batch,
                                         Index channels, const BatchView<const T>& view,
                                         const GradientOutput<T>& in_gradient,
                                         const Execution& execution, const Prepare& prepare,
                                         const Pass& pass) {
  using Sums = GradientSums<accumulator_t<T>, Channels>;
  CollectiveCall call;
  call.function = function;
  call.kind = CollectiveKind::backward;
  call.channels = channels;
  call.samples = view.samples();
  call.scalar = scalar_code<T>();
  call.options = fingerprint_of(options);
  call.state = fingerprint_of(batch);
  const auto piece = [&](Index first, Index samples, ChannelShare& to) {
    if (first == 0) prepare();
    Sums sums(channels);
    sums.count = samples * view.positions();
    if (sums.count != 0) pass(first, samples).sum(execution, sums);
    give(std::move(sums), to);
  };
  Sums own(channels), all(channels);
  ChannelShare own_share = share_of(own);
  ChannelShare all_share = share_of(all);
  execution.collective()->combine(execution.layer_number(), call, CollectivePiece(piece), own_share,
                                  all_share);
  own.count = own_share.count;
  all.count = all_share.count;
  check_sums(function, all, channels, batch.count);
  if (!view.empty()) {
    pass(0, view.samples()).map_with(execution, all, {in_gradient.view(), in_gradient.residual()});
  }
  return gradients_of<T>(options, execution.collective()->sums_parameter_gradients() ? all : own);
}

/// backward through the statistics of the minibatch of all ranks.
///
/// @param statistics  statistics(): those of `batch`, once they have turned out to be usable
template <class T, int Channels, class Statistics>
Gradients<T, Channels> input_gradients_together(const char* function, const Options& options,
                                                const State<T, Channels>& state,
                                                const Moments<accumulator_t<T>, Channels>& batch,
                                                const Input<T>& in, const Input<T>& out_gradient,
                                                const GradientOutput<T>& in_gradient,
                                                const Execution& execution,
                                                const Statistics& statistics) {
  GradientTables<T, Channels> tables(state.channels());
  const bool has_residual = in.residual() != nullptr;
  BatchView<const T> residual = has_residual ? *in.residual() : in.view();
  const auto prepare = [&] {
    check_state_shape(function, state);
    check_backward(function, state.channels(), in, out_gradient, in_gradient);
    check_piece(function, batch, state.channels(), in.view());
    if (batch.count == 0) return;
    check_batch_size(function, options, batch.count);
    tables = input_tables(options, state, statistics());
  };
  const auto pass = [&](Index first, Index samples) {
    if (has_residual) residual = some_samples(*in.residual(), first, samples);
    auto formula = formula_options<parameter_t<T>>(options.epilogue, has_residual);
    formula.fixed_statistics = batch.count == 1;
    return InputBackward<T, Channels>(
        formula, tables,
        {some_samples(in.view(), first, samples), has_residual ? &residual : nullptr},
        some_samples(out_gradient.view(), first, samples));
  };
  return backward_together<T, Channels>(function, options, batch, state.channels(), in.view(),
                                        in_gradient, execution, prepare, pass);
}

/// backward_from_output in the same way.
template <class T, int Channels, class Statistics>
Gradients<T, Channels> output_gradients_together(const char* function, const Options& options,
                                                 const State<T, Channels>& state,
                                                 const Moments<accumulator_t<T>, Channels>& batch,
                                                 const Input<T>& out, const Input<T>& out_gradient,
                                                 const GradientOutput<T>& in_gradient,
                                                 const Execution& execution,
                                                 const Statistics& statistics) {
  GradientTables<T, Channels> tables(state.channels());
  const auto prepare = [&] {
    check_state_shape(function, state);
    check_no_residual(function, out);
    check_backward(function, state.channels(), out, out_gradient, in_gradient);
    check_piece(function, batch, state.channels(), out.view());
    check_invertible<T>(function, options, state);
    if (batch.count == 0) return;
    check_batch_size(function, options, batch.count);
    tables = output_tables(options, state, statistics());
  };
  const auto pass = [&](Index first, Index samples) {
    auto formula = formula_options<parameter_t<T>>(options.epilogue, false);
    formula.fixed_statistics = batch.count == 1;
    return OutputBackward<T, Channels>(formula, tables, {some_samples(out.view(), first, samples)},
                                       some_samples(out_gradient.view(), first, samples));
  };
  return backward_together<T, Channels>(function, options, batch, state.channels(), out.view(),
                                        in_gradient, execution, prepare, pass);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_TOGETHER_HPP
