// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LAYER_CORE_HPP
#define BATCHNORM_LAYER_CORE_HPP

// The steps of the layer on views, in their order, and what each of them has to be sure of first.
// layer.hpp makes views of the arguments that users hand over, and documents the whole.

#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Options and state of a layer, and its calls on views. Every check of a call comes before its
/// first write.
template <class T, int Channels>
class LayerCore {
 public:
  using BatchMoments = Moments<accumulator_t<T>, Channels>;
  using ParameterGradients = Gradients<T, Channels>;
  using In = BatchView<const T>;
  using Out = BatchView<T>;

  Options options;
  State<T, Channels> state;

  LayerCore(Index channels, const Options& chosen) : options(chosen), state(channels) {
    validate(options);
  }

  LayerCore(State<T, Channels> given, const Options& chosen)
      : options(chosen), state(std::move(given)), state_given_(true) {
    validate(options);
    check_state("BatchNorm", state, options.non_finite);
  }

  BatchMoments train(const In& in, const Out& out, const Execution& execution) {
    constexpr const char* function = "BatchNorm::train";
    BatchMoments batch = forward(function, in, out, execution, true);
    if (batch.count > 1 && accepts(function, batch)) apply_running_update(options, batch, state);
    return batch;
  }

  BatchMoments normalize(const In& in, const Out& out, const Execution& execution) const {
    return forward("BatchNorm::normalize", in, out, execution, false);
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

  void infer(const In& in, const Out& out, const Execution& execution) const {
    infer_as("BatchNorm::infer", in, out, execution);
  }

  ParameterGradients backward(const BatchMoments& batch, const In& in, const In& out_gradient,
                              const Out& in_gradient, const Execution& execution) const {
    constexpr const char* function = "BatchNorm::backward";
    check_gradient_shapes(function, in, out_gradient, in_gradient);
    check_moments(function, batch, channels());
    if (batch.count != in.values_per_channel()) {
      fail_argument(function, "the moments must be those of this input",
                    text("moments of ", in.values_per_channel(), " values per channel"),
                    text("moments of ", batch.count));
    }
    if (in.empty()) return ParameterGradients(channels());
    if (borrows_statistics(function, batch.count)) {
      return backward_frozen_as(function, in, out_gradient, in_gradient, execution);
    }
    const BatchStatistics<accumulator_t<T>, Channels> statistics(batch);
    check_deviation<T>(function, options, channels(), statistics);
    const BackwardTerms<T, Channels, decltype(statistics)> terms{options, state, statistics};
    return backward_through(terms, in, out_gradient, in_gradient, execution);
  }

  ParameterGradients backward_frozen(const In& in, const In& out_gradient, const Out& in_gradient,
                                     const Execution& execution) const {
    return backward_frozen_as("BatchNorm::backward_frozen", in, out_gradient, in_gradient,
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
  BatchMoments forward(const char* function, const In& in, const Out& out,
                       const Execution& execution, bool commit_follows) const {
    check_shapes(function, in, out);
    if (in.empty()) return BatchMoments(channels());
    if (borrows_statistics(function, in.values_per_channel())) {
      BatchMoments batch = moments_of_view<Channels, T>(in, execution);
      infer_as(function, in, out, execution);
      return batch;
    }
    BatchMoments batch = moments_of_view<Channels, T>(in, execution);
    const bool accepted = accepts(function, batch);
    const BatchStatistics<accumulator_t<T>, Channels> statistics(batch);
    check_deviation<T>(function, options, channels(), statistics);
    if (commit_follows && accepted) check_running_update(function, options, batch, state);
    write_output(statistics, in, out, execution);
    return batch;
  }

  void infer_as(const char* function, const In& in, const Out& out,
                const Execution& execution) const {
    check_shapes(function, in, out);
    write_output(running_statistics(function), in, out, execution);
  }

  ParameterGradients backward_frozen_as(const char* function, const In& in, const In& out_gradient,
                                        const Out& in_gradient, const Execution& execution) const {
    check_gradient_shapes(function, in, out_gradient, in_gradient);
    const RunningStatistics<T, Channels> statistics = running_statistics(function);
    const BackwardTerms<T, Channels, decltype(statistics)> terms{options, state, statistics};
    return backward_constant(terms, in, out_gradient, in_gradient, execution);
  }

  template <class Statistics>
  void write_output(const Statistics& statistics, const In& in, const Out& out,
                    const Execution& execution) const {
    const CentredCoefficients<T, Channels, Statistics> coefficients(options, state, statistics);
    loops::map<parameter_t<T>, CentredMap>(execution, coefficients, out, in);
  }

  void check_shapes(const char* function, const In& in, const Out& out) const {
    check_state_shape(function, state);
    check_channels(function, in, channels());
    check_output(function, "output", out, "input", in);
  }

  void check_gradient_shapes(const char* function, const In& in, const In& out_gradient,
                             const Out& in_gradient) const {
    check_state_shape(function, state);
    check_channels(function, in, channels());
    check_same_shape(function, "input", in, "output gradient", out_gradient);
    check_output(function, "input gradient", in_gradient, "input", in);
    check_output(function, "input gradient", in_gradient, "output gradient", out_gradient);
  }

  /// The running statistics, once they have turned out to be usable.
  RunningStatistics<T, Channels> running_statistics(const char* function) const {
    check_has_statistics(function);
    check_statistics(function, state, options.non_finite);
    const RunningStatistics<T, Channels> statistics(state);
    check_deviation<T>(function, options, channels(), statistics);
    return statistics;
  }

  void check_has_statistics(const char* function) const {
    check_state_shape(function, state);
    if (state_given_ || state.batches_seen > 0 || !has_initial_statistics(state)) return;
    fail_domain(function, "the running statistics must come from data",
                "a layer that has trained on a minibatch or was given its state",
                "a new layer (mean 0 and variance 1 would switch batch norm off)");
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
