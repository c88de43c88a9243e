// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_TOGETHER_HPP
#define BATCHNORM_MATH_TOGETHER_HPP

#include <cstdint>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/shares.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

// The calls of a layer on a minibatch of which each rank has a part. Between the two loops of
// forward and backward lies the only thing that ranks have to tell each other: the sums of
// shares.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The moments of the minibatch that is spread over all ranks.
///
/// @param selected  becomes what counts of `in`
/// @param check     refuses arguments and state of this rank, on behalf of all
template <int Channels, class T, class Check>
[[gnu::cold]] Moments<accumulator_t<T>, Channels> moments_together(const Execution& execution,
                                                                   CollectiveCall call,
                                                                   const Input<T>& in,
                                                                   SelectedPointer<T>& selected,
                                                                   const Check& check) {
  Moments<accumulator_t<T>, Channels> all(call.channels);
  call.samples = in.view().samples();
  call.scalar = scalar_code<T>();
  const auto piece = [&](Index first, Index samples, ChannelShare& to) {
    if (first == 0) {
      check();
      selected = selected_of(call.function, in);
    }
    const InputPiece<T> some(call.function, in, first, samples, selected);
    give(moments_of_view<Channels, T>(some.view(), some.selected(), execution), to);
  };
  ChannelShare own;
  ChannelShare sums = share_of(all);
  execution.collective()->combine(execution.layer_number(), call, CollectivePiece(piece), own,
                                  sums);
  all.count = sums.count;
  const std::uint32_t kind = sums.weights == 0 ? 0 : sums.weights - 1;
  all.set_weight(sums.weight, sums.squared_weight, static_cast<Weights>(kind));
  return all;
}

/// The moments of an input that is only looked at, of this rank or of all.
///
/// @param check  refuses arguments of this rank, on behalf of all
template <int Channels, class Layer, class T, class Check>
[[gnu::cold]] Moments<accumulator_t<T>, Channels> moments_seen(const char* function,
                                                               const Layer& layer,
                                                               const Input<T>& in,
                                                               const Execution& execution,
                                                               const Check& check) {
  SelectedPointer<T> selected;
  if (execution.collective() == nullptr) {
    check();
    selected = selected_of(function, in);
    return moments_of_view<Channels, T>(in.view(), selected.get(), execution);
  }
  CollectiveCall call;
  call.function = function;
  call.kind = CollectiveKind::moments;
  call.channels = layer.channels();
  call.options = fingerprint_of(layer.options());
  call.reject_non_finite = layer.options().non_finite == NonFinite::reject;
  return moments_together<Channels, T>(execution, call, in, selected, check);
}

/// How many examples the last minibatch had, of this rank or of all.
template <class T>
Index samples_seen(const Input<T>& in, const Execution& execution) {
  const Collective* const ranks = execution.collective();
  return ranks != nullptr ? ranks->samples() : in.view().samples();
}

/// A call of train or normalize, as it was made.
template <class T, int Channels>
struct ForwardCall {
  const char* function;
  const Options& options;
  const State<T, Channels>& state;
  bool state_given;  ///< whether the layer was given its state
  const Input<T>& in;
  const Output<T>& out;
  State<T, Channels>* step;  ///< whose running statistics follow; null for none
};

/// Refuses what depends on this rank alone before the ranks talk, so that afterwards they all go on
/// or all fail: parameters, and running statistics that a step would be averaged with.
template <class T, int Channels>
[[gnu::cold]] void check_for_all(const ForwardCall<T, Channels>& call) {
  const State<T, Channels>& state = call.state;
  check_state_shape(call.function, state);
  check_forward(call.function, state.channels(), call.in, call.out);
  if (call.options.non_finite != NonFinite::propagate) {
    for (Index channel = 0; channel < state.channels(); ++channel) {
      check_number(call.function, "gamma", channel,
                   is_finite(gamma_of(call.options, state, channel)));
      check_number(call.function, "beta", channel,
                   is_finite(beta_of(call.options, state, channel)));
    }
  }
  if (call.step == nullptr) return;
  const RunningUpdate& rule = call.options.running;
  check_running_start(call.function, rule, call.in.view().values_per_channel(), state);
  const bool averaged =
      update_factor(rule, state.batches_seen + 1, 1, state.samples_seen + 1) < 1.0;
  if (averaged) check_statistics(call.function, state, call.options.non_finite);
}

/// The moments of the minibatch of all ranks, for train and normalize.
template <class T, int Channels>
[[gnu::cold, gnu::noinline]] Moments<accumulator_t<T>, Channels> forward_together(
    const ForwardCall<T, Channels>& made, const Execution& execution,
    SelectedPointer<T>& selected) {
  CollectiveCall call;
  call.function = made.function;
  call.kind = made.step != nullptr ? CollectiveKind::train : CollectiveKind::normalize;
  call.channels = made.state.channels();
  call.options = fingerprint_of(made.options);
  call.state = static_cast<std::uint64_t>(made.state.batches_seen);
  call.reject_non_finite = made.options.non_finite == NonFinite::reject;
  return moments_together<Channels, T>(execution, call, made.in, selected,
                                       [&] { check_for_all(made); });
}

/// A call of backward or backward_from_output, as it was made.
template <class T, int Channels>
struct BackwardCall {
  const char* function;
  const Options& options;
  const State<T, Channels>& state;
  bool state_given;  ///< whether the layer was given its state
  const Moments<accumulator_t<T>, Channels>& batch;
  const Input<T>& in;  ///< of the layer, or its output
  const Input<T>& out_gradient;
  const GradientOutput<T>& in_gradient;
};

/// Both halves of backward, of which the ranks add up the sums in between.
///
/// @tparam Source  what the gradients are made of: the input of the layer, or its output
template <class Source, class T, int Channels>
class BackwardTogether {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using Sums = GradientSums<A, Channels>;

 public:
  BackwardTogether(const BackwardCall<T, Channels>& made, const Execution& execution)
      : made_(made), execution_(execution), divisor_(made.batch), tables_(made.state.channels()) {}

  [[gnu::cold]] Gradients<T, Channels> run() {
    const Index channels = made_.state.channels();
    const auto piece = [&](Index first, Index samples, ChannelShare& to) {
      if (first == 0) prepare();
      give(sums_of(first, samples), to);
    };
    Sums own(channels), all(channels);
    ChannelShare own_share = share_of(own), all_share = share_of(all);
    Collective& ranks = *execution_.collective();
    ranks.combine(execution_.layer_number(), as_collective(), CollectivePiece(piece), own_share,
                  all_share);
    all.count = all_share.count;
    check_sums(made_.function, all, channels, made_.batch.count);
    auto gradients = gradients_of<T>(made_.options, ranks.sums_parameter_gradients() ? all : own);
    write(std::move(all));
    return gradients;
  }

 private:
  [[gnu::cold]] CollectiveCall as_collective() const {
    CollectiveCall call;
    call.function = made_.function;
    call.kind = CollectiveKind::backward;
    call.channels = made_.state.channels();
    call.samples = made_.in.view().samples();
    call.scalar = scalar_code<T>();
    call.options = fingerprint_of(made_.options);
    call.state = fingerprint_of(made_.batch);
    return call;
  }

  /// Refuses arguments of this rank on behalf of all, and fills the tables.
  [[gnu::cold]] void prepare() {
    const Index channels = made_.state.channels();
    check_state_shape(made_.function, made_.state);
    if constexpr (from_output) check_no_residual(made_.function, made_.in);
    check_backward(made_.function, channels, made_.in, made_.out_gradient, made_.in_gradient);
    selected_ = selected_of(made_.function, made_.in);
    check_piece(made_.function, made_.batch, channels, count_of(selected_, made_.in));
    if constexpr (from_output) check_invertible<T>(made_.function, made_.options, made_.state);
    check_given_batch<C>(made_.function, made_.options, made_.batch);
    if (divisor_.empty) return;
    const auto use = usable_statistics(made_.function, made_.options, made_.state,
                                       made_.state_given, made_.batch);
    if constexpr (from_output) {
      tables_ = output_tables(made_.options, made_.state, use);
    } else {
      tables_ = input_tables(made_.options, made_.state, use);
    }
  }

  [[gnu::cold]] BackwardPass<Source, T, Channels> pass(const InputViews<T>& in, Index first) {
    auto formula = formula_options<C>(made_.options.epilogue, in.residual != nullptr);
    formula.fixed_statistics = divisor_.fixed;
    return {formula, tables_, in, samples_of(made_.out_gradient.view(), first, in.x.samples()),
            divisor_.divisor};
  }

  /// The share of some samples; what a mask leaves out has one, too, where it has a gradient.
  [[gnu::cold]] Sums sums_of(Index first, Index samples) {
    const InputPiece<T> some(made_.function, made_.in, first, samples, selected_);
    Sums sums(made_.state.channels());
    sums.count = some.count();
    if (!divisor_.empty && !some.view().empty()) pass(some.views(), first).sum(execution_, sums);
    return sums;
  }

  [[gnu::cold]] void write(Sums all) {
    const InputViews<T> in{made_.in.view(), made_.in.residual(), selected_.get()};
    const GradientViews<T> to{made_.in_gradient.view(), made_.in_gradient.residual()};
    if (divisor_.empty) return fill_gradients(in, made_.out_gradient.view(), to, execution_);
    if (!in.x.empty()) pass(in, 0).map_with(execution_, std::move(all), to);
  }

  static constexpr bool from_output = std::is_same<Source, FromOutput>::value;

  const BackwardCall<T, Channels>& made_;
  const Execution& execution_;
  MinibatchDivisor<A> divisor_;
  GradientTables<T, Channels> tables_;
  SelectedPointer<T> selected_;
};

template <class T, int Channels>
[[gnu::cold]] Gradients<T, Channels> input_gradients_together(const BackwardCall<T, Channels>& made,
                                                              const Execution& execution) {
  return BackwardTogether<FromInput<parameter_t<T>>, T, Channels>(made, execution).run();
}
template <class T, int Channels>
[[gnu::cold]] Gradients<T, Channels> output_gradients_together(
    const BackwardCall<T, Channels>& made, const Execution& execution) {
  return BackwardTogether<FromOutput, T, Channels>(made, execution).run();
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_TOGETHER_HPP
