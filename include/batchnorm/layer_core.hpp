// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LAYER_CORE_HPP
#define BATCHNORM_LAYER_CORE_HPP

// The steps of the layer on views, in their order, and what each of them has to be sure of first.
// layer.hpp makes views of the arguments that users hand over, and documents the whole.

#include <cstddef>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
/// What train(in) returns: `auto [output, batch] = layer.train(in);`
template <class Output, class Batch>
struct TrainResult {
  Output output;
  Batch batch;
};

/// What backward without an output returns: `auto [in_gradient, gamma, beta] = ...`
template <class Output, class Vector>
struct BackwardResult {
  Output in_gradient;
  Vector gamma;
  Vector beta;
};

namespace detail {

/// Options and state of a layer, and its calls on views. Every check of a call comes before its
/// first write.
template <class T, int Channels>
class LayerCore {
 public:
  using BatchMoments = Moments<accumulator_t<T>, Channels>;
  using BatchSums = GradientSums<accumulator_t<T>, Channels>;
  using ParameterGradients = Gradients<T, Channels>;
  using In = BatchView<const T>;
  using Out = BatchView<T>;

  Options options;
  State<T, Channels> state;

  /// Of no channels, unless their number is fixed.
  explicit LayerCore(const Options& chosen) : options(chosen) { validate(options); }

  LayerCore(Index channels, const Options& chosen) : options(chosen), state(channels) {
    validate(options);
  }

  LayerCore(State<T, Channels> given, const Options& chosen)
      : options(chosen), state(std::move(given)), state_given_(true) {
    validate(options);
    check_state("BatchNorm", state, options.non_finite);
  }

  /// Inputs: what is normalised, then a residual where there is one.
  template <std::size_t N>
  using Inputs = loops::Views<const T, N>;

  template <std::size_t N>
  BatchMoments train(const Inputs<N>& in, const Out& out, const Execution& execution) {
    constexpr const char* function = "BatchNorm::train";
    BatchMoments batch = forward(function, in, out, execution, true);
    // What forward did not reject counts, unless it may have been let through.
    const bool accepted = options.non_finite != NonFinite::skip_update || accepts(function, batch);
    if (batch.count > 1 && accepted) apply_running_update(options, batch, state);
    return batch;
  }

  template <std::size_t N>
  BatchMoments normalize(const Inputs<N>& in, const Out& out, const Execution& execution) const {
    return forward("BatchNorm::normalize", in, out, execution, false);
  }

  /// Moments and sums of a whole minibatch, of which `in` is a piece.
  template <std::size_t N>
  void normalize_piece(const BatchMoments& batch, const Inputs<N>& in, const Out& out,
                       const Execution& execution) const {
    constexpr const char* function = "BatchNorm::normalize";
    check_shapes(function, in, out);
    check_piece(function, batch, channels(), in[0]);
    if (in[0].empty()) return;
    if (borrows_statistics(function, batch.count)) {
      return infer_as(function, in, out, execution);
    }
    accepts(function, batch);
    with_statistics_of(function, batch, [&](const auto& statistics) {
      write_output(statistics, in, out, execution);
    });
  }

  template <std::size_t N>
  BatchSums backward_sums(const BatchMoments& batch, const Inputs<N>& in, const In& out_gradient,
                          const Execution& execution) const {
    constexpr const char* function = "BatchNorm::backward_sums";
    check_input_shapes(function, in, out_gradient);
    check_piece(function, batch, channels(), in[0]);
    if (in[0].empty()) return BatchSums(channels());
    const auto sum = [&](const auto& statistics) {
      return input_sums<T, Channels, N == 2>(options, state, statistics,
                                             gradient_first(in, out_gradient), execution);
    };
    if (borrows_statistics(function, batch.count)) return sum(running_statistics(function));
    return with_statistics_of(function, batch, sum);
  }

  template <std::size_t N>
  void backward_piece(const BatchMoments& batch, const BatchSums& sums, const Inputs<N>& in,
                      const In& out_gradient, const loops::Views<T, N>& gradients,
                      const Execution& execution) const {
    constexpr const char* function = "BatchNorm::backward";
    check_gradient_shapes(function, in, out_gradient, gradients);
    check_piece(function, batch, channels(), in[0]);
    check_sums(function, sums, channels(), batch.count);
    if (in[0].empty()) return;
    if (borrows_statistics(function, batch.count)) {
      return piece_gradients<T, Channels, true, N == 2>(
          options, state, running_statistics(function), sums, gradient_first(in, out_gradient),
          gradients, execution);
    }
    with_statistics_of(function, batch, [&](const auto& statistics) {
      piece_gradients<T, Channels, false, N == 2>(
          options, state, statistics, sums, gradient_first(in, out_gradient), gradients, execution);
    });
  }

  ParameterGradients parameter_gradients(const BatchSums& sums) const {
    check_state_shape("BatchNorm::parameter_gradients", state);
    check_sums("BatchNorm::parameter_gradients", sums, channels(), sums.count);
    return gradients_of<T>(options, sums);
  }

  void commit(const BatchMoments& batch) {
    constexpr const char* function = "BatchNorm::commit";
    check_state_shape(function, state);
    check_moments(function, batch, channels());
    if (batch.count == 0 || borrows_statistics(function, batch.count)) return;
    if (!accepts(function, batch)) return;
    check_running_update(function, options, batch, state);
    apply_running_update(options, batch, state);
  }

  template <std::size_t N>
  void infer(const Inputs<N>& in, const Out& out, const Execution& execution) const {
    infer_as("BatchNorm::infer", in, out, execution);
  }

  /// Outputs: dL/dx, then dL/dresidual where there is a residual.
  template <std::size_t N>
  ParameterGradients backward(const BatchMoments& batch, const Inputs<N>& in,
                              const In& out_gradient, const loops::Views<T, N>& gradients,
                              const Execution& execution) const {
    constexpr const char* function = "BatchNorm::backward";
    check_gradient_shapes(function, in, out_gradient, gradients);
    check_batch(function, batch, channels(), in[0]);
    if (in[0].empty()) return ParameterGradients(channels());
    if (borrows_statistics(function, batch.count)) {
      return backward_frozen_as(function, in, out_gradient, gradients, execution);
    }
    return with_statistics_of(function, batch, [&](const auto& statistics) {
      return backward_with<false>(statistics, in, out_gradient, gradients, execution);
    });
  }

  template <std::size_t N>
  ParameterGradients backward_frozen(const Inputs<N>& in, const In& out_gradient,
                                     const loops::Views<T, N>& gradients,
                                     const Execution& execution) const {
    return backward_frozen_as("BatchNorm::backward_frozen", in, out_gradient, gradients, execution);
  }

  ParameterGradients backward_from_output(const BatchMoments& batch, const In& out,
                                          const In& out_gradient, const Out& in_gradient,
                                          const Execution& execution) const {
    constexpr const char* function = "BatchNorm::backward_from_output";
    check_gradient_shapes(function, Inputs<1>{out}, out_gradient, {in_gradient});
    check_batch(function, batch, channels(), out);
    check_invertible<T>(function, options, state);
    if (out.empty()) return ParameterGradients(channels());
    const Inputs<2> inputs{out_gradient, out};
    if (borrows_statistics(function, batch.count)) {
      return output_gradients<T, Channels, true>(options, state, running_statistics(function),
                                                 inputs, in_gradient, execution);
    }
    const BatchStatistics<accumulator_t<T>, Channels> statistics(batch);
    check_deviation<T>(function, options, channels(), statistics);
    return output_gradients<T, Channels, false>(options, state, statistics, inputs, in_gradient,
                                                execution);
  }

  FrozenBatchNorm<T, Channels> freeze() const {
    check_has_statistics("BatchNorm::freeze");
    return FrozenBatchNorm<T, Channels>("BatchNorm::freeze", state, options);
  }

  Index channels() const { return state.channels(); }

 private:
  /// The forward pass. When a commit follows, it is known before the output is written that it will
  /// succeed: an output that is its input cannot be computed twice.
  template <std::size_t N>
  BatchMoments forward(const char* function, const Inputs<N>& in, const Out& out,
                       const Execution& execution, bool commit_follows) const {
    check_shapes(function, in, out);
    if (in[0].empty()) return BatchMoments(channels());
    if (borrows_statistics(function, in[0].values_per_channel())) {
      BatchMoments batch = moments_of_view<Channels, T>(in[0], execution);
      infer_as(function, in, out, execution);
      return batch;
    }
    if (nothing_to_reject()) {
      if (commit_follows) check_counter(function, options.running, state);
      return normalize_resident<T, Channels>(options, state, in, out, execution);
    }
    BatchMoments batch = moments_of_view<Channels, T>(in[0], execution);
    const bool accepted = accepts(function, batch);
    const BatchStatistics<accumulator_t<T>, Channels> statistics(batch);
    check_deviation<T>(function, options, channels(), statistics);
    if (commit_follows && accepted) check_running_update(function, options, batch, state);
    write_output(statistics, in, out, execution);
    return batch;
  }

  /// Whether no minibatch can be rejected, so that the output of one channel may be written before
  /// the next one has been looked at.
  bool nothing_to_reject() const {
    return options.non_finite == NonFinite::propagate && options.epsilon > ample_variance;
  }

  template <std::size_t N>
  void infer_as(const char* function, const Inputs<N>& in, const Out& out,
                const Execution& execution) const {
    check_shapes(function, in, out);
    write_output(running_statistics(function), in, out, execution);
  }

  template <std::size_t N>
  ParameterGradients backward_frozen_as(const char* function, const Inputs<N>& in,
                                        const In& out_gradient, const loops::Views<T, N>& gradients,
                                        const Execution& execution) const {
    check_gradient_shapes(function, in, out_gradient, gradients);
    return backward_with<true>(running_statistics(function), in, out_gradient, gradients,
                               execution);
  }

  template <bool Constant, class Statistics, std::size_t N>
  ParameterGradients backward_with(const Statistics& statistics, const Inputs<N>& in,
                                   const In& out_gradient, const loops::Views<T, N>& gradients,
                                   const Execution& execution) const {
    return input_gradients<T, Channels, Constant, N == 2>(
        options, state, statistics, gradient_first(in, out_gradient), gradients, execution);
  }

  /// The order of backward: what is normalised comes last, because empty lanes are filled with what
  /// adds nothing to a sum in the last input.
  static Inputs<2> gradient_first(const Inputs<1>& in, const In& out_gradient) {
    return {out_gradient, in[0]};
  }
  static Inputs<3> gradient_first(const Inputs<2>& in, const In& out_gradient) {
    return {out_gradient, in[1], in[0]};
  }

  /// body(the statistics of a minibatch), once it is sure that they can be divided by.
  template <class Body>
  auto with_statistics_of(const char* function, const BatchMoments& batch, const Body& body) const {
    const BatchStatistics<accumulator_t<T>, Channels> statistics(batch);
    check_deviation<T>(function, options, channels(), statistics);
    return body(statistics);
  }

  template <class Statistics, std::size_t N>
  void write_output(const Statistics& statistics, const Inputs<N>& in, const Out& out,
                    const Execution& execution) const {
    const CentredCoefficients<T, Channels, Statistics> coefficients(options, state, statistics);
    normalize_view<parameter_t<T>>(execution, options.epilogue, coefficients, out, in);
  }

  template <std::size_t N>
  void check_shapes(const char* function, const Inputs<N>& in, const Out& out) const {
    check_state_shape(function, state);
    check_channels(function, in[0], channels());
    if constexpr (N == 2) check_same_shape(function, "input", in[0], "residual", in[1]);
    check_output(function, "output", out, "input", in[0]);
    if constexpr (N == 2) check_aliasing(function, "output", out, "residual", in[1]);
  }

  template <std::size_t N>
  void check_input_shapes(const char* function, const Inputs<N>& in, const In& out_gradient) const {
    check_state_shape(function, state);
    check_channels(function, in[0], channels());
    check_same_shape(function, "input", in[0], "output gradient", out_gradient);
    if constexpr (N == 2) check_same_shape(function, "input", in[0], "residual", in[1]);
  }

  template <std::size_t N>
  void check_gradient_shapes(const char* function, const Inputs<N>& in, const In& out_gradient,
                             const loops::Views<T, N>& gradients) const {
    constexpr const char* names[] = {"input gradient", "residual gradient"};
    check_input_shapes(function, in, out_gradient);
    for (std::size_t i = 0; i < N; ++i) {
      check_output(function, names[i], gradients[i], "input", in[0]);
      check_output(function, names[i], gradients[i], "output gradient", out_gradient);
      if constexpr (N == 2) check_aliasing(function, names[i], gradients[i], "residual", in[1]);
    }
    if constexpr (N == 2) check_disjoint(function, names[0], gradients[0], names[1], gradients[1]);
  }

  /// The running statistics, once they have turned out to be usable.
  RunningStatistics<T, Channels> running_statistics(const char* function) const {
    check_has_statistics(function);
    check_statistics(function, state, options.non_finite);
    const RunningStatistics<T, Channels> statistics(state);
    check_deviation<T>(function, options, channels(), statistics);
    check_inference(function, options, state);
    return statistics;
  }

  void check_has_statistics(const char* function) const {
    check_state_shape(function, state);
    if (state_given_ || state.batches_seen != 0 || !has_initial_statistics(state)) return;
    fail_domain(function, "the running statistics must come from data",
                "a layer that has trained on a minibatch or was given its state",
                "those of a new layer, mean 0 and variance 1, which would switch batch norm off; "
                "where they are meant, set state().batches_seen to what they come from, or to "
                "State::unknown");
  }

  /// Whether a minibatch is to be normalised with the running statistics, having no variance.
  bool borrows_statistics(const char* function, Index values) const {
    if (values != 1) return false;
    if (options.single_value == SingleValue::use_running_statistics) return true;
    fail_argument(function, "a minibatch has a variance from two values per channel on",
                  "at least 2 values per channel",
                  "1; use infer() or freeze() for a single example, they normalise with the "
                  "running statistics");
  }

  /// Whether the running statistics may follow this minibatch; throws when it is to be rejected.
  bool accepts(const char* function, const BatchMoments& batch) const {
    const Index channel = first_non_finite_channel<parameter_t<T>>(batch);
    if (channel < 0 || options.non_finite == NonFinite::propagate) return true;
    if (options.non_finite == NonFinite::skip_update) return false;
    fail_domain(function, "the statistics of a minibatch must be finite",
                "finite values in every channel",
                text("NaN, infinity or overflow in channel ", channel));
  }

  bool state_given_ = false;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LAYER_CORE_HPP
