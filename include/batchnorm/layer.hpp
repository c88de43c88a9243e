// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LAYER_HPP
#define BATCHNORM_LAYER_HPP

#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/calls.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A batch normalisation layer: trains, keeps running statistics, and hands out the inference path.
///
///     xhat = (x - mean) / sqrt(variance + epsilon)      y = f(gamma xhat + beta)
///
/// f is Options::epilogue: nothing, ReLU or leaky ReLU. train() normalises with the population
/// statistics of the minibatch, infer() and freeze() with the running statistics. There is no mode
/// to switch: the call says which. Whatever a call rejects, it rejects before it has changed the
/// layer or written the output.
///
/// Shapes: inputs are BatchViews of `channels()` channels, Eigen objects of features x examples, or
/// with_residual of two such; an output has the shape of its input and is the same memory or memory
/// that does not overlap it. Statistics are per channel, over samples and positions. Every call
/// that loops takes an optional Execution last; with a Synchronize in it, train, normalize and
/// backward are of a minibatch that several ranks share (distributed/README.md). Calls that are
/// given their output allocate numbers per channel at most, and with `Channels` fixed nothing;
/// infer allocates nothing.
///
/// A plain value: copy it, move it, keep it in a std::vector. Const members may be called from many
/// threads at once. Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms 1 and 2.
///
/// @tparam T         scalar of the data: float, half, bfloat16, or any other real one of Eigen's
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class BatchNorm : private detail::PositionalResiduals<Moments<accumulator_t<T>, Channels>> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  using Scalar = T;
  using BatchMoments = Moments<A, Channels>;
  using BatchSums = GradientSums<A, Channels>;
  using ParameterGradients = Gradients<T, Channels>;

  using Refused = detail::PositionalResiduals<BatchMoments>;
  using Refused::backward, Refused::backward_frozen, Refused::infer, Refused::normalize,
      Refused::train;

  /// A layer whose type says the number of channels and that has seen nothing; without a fixed
  /// number an empty one, as a member that is assigned to later. Calling that is an error.
  BatchNorm() = default;

  template <int Fixed = Channels, std::enable_if_t<Fixed != Eigen::Dynamic, int> = 0>
  explicit BatchNorm(Options options) : options_(options) {
    validate(options_);
  }

  /// A layer that has seen nothing: gamma 1, beta 0.
  /// @throws std::invalid_argument when channels is not positive or epsilon is wrong
  explicit BatchNorm(Index channels, Options options = {}) : options_(options), state_(channels) {
    validate(options_);
  }

  /// A layer that goes on from a state, say of a checkpoint.
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when a running variance is negative or a running statistic is not
  ///         finite
  BatchNorm(State<T, Channels> state, Options options)
      : options_(options), state_(std::move(state)), state_given_(true) {
    validate(options_);
    detail::check_state("BatchNorm", state_, options_.non_finite);
  }

  /// Refuses a bare number when compiled.
  template <class First, class Number, detail::if_bare_number<Number> = 0>
  BatchNorm(const First&, Number) {
    detail::refuse_bare_number<Number>();
  }

  /// 0 for an empty layer.
  Index channels() const { return state_.channels(); }

  // Noinline: what compilers inline, they compile in every file, compiled.hpp or not.
  /// Normalises a minibatch with its own statistics, then moves the running statistics on.
  ///
  /// @return the moments of the minibatch, which backward wants to have
  /// @throws std::invalid_argument for wrong shapes, overlapping memory, or one value per channel
  ///         (unless Options::single_value says otherwise)
  /// @throws std::domain_error for NaN, infinity and overflow (unless Options::non_finite says
  ///         otherwise), and for channels without variance when epsilon is 0
  /// An empty minibatch changes nothing. Cost: two reads and one write of the data; one read with
  /// NonFinite::propagate, where channels lie apart and fit the cache.
  [[gnu::noinline]] BatchMoments train(const Input<T>& in, const Output<T>& out,
                                       const Execution& execution = {}) {
    Forward pass = forward("BatchNorm::train", in, out, execution, true);
    if (pass.update) apply_running_update(options_, pass.batch, state_);
    return std::move(pass.batch);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  auto train(const In& in, const Execution& execution = {}) {
    auto output = detail::make_owner_like(detail::lead_of(in));
    BatchMoments batch = train(in, detail::view_of_owner(detail::lead_of(in), output), execution);
    return TrainResult<decltype(output), BatchMoments>{std::move(output), std::move(batch)};
  }

  /// train without the commit: the layer stays as it is, so that it may be called twice for one
  /// minibatch (recomputation) or on many threads. Throws what train throws.
  BatchMoments normalize(const Input<T>& in, const Output<T>& out,
                         const Execution& execution = {}) const {
    return forward("BatchNorm::normalize", in, out, execution, false).batch;
  }

  /// Normalises a piece of a minibatch that does not lie in one place: samples of several matrices,
  /// of several devices, or read one after the other. First merge moments_of() all pieces, then
  /// call this for each of them, and commit() once.
  ///
  /// @param batch  the moments of the whole minibatch
  /// @throws what normalize does, and std::invalid_argument for moments of another number of
  ///         channels or of fewer values than `in`
  /// Cost: one read and one write of the piece.
  [[gnu::noinline]] void normalize(const BatchMoments& batch, const Input<T>& in,
                                   const Output<T>& out, const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::normalize";
    detail::check_state_shape(function, state_);
    detail::check_forward(function, channels(), in, out);
    detail::check_piece(function, batch, channels(), in.view());
    if (in.view().empty()) return;
    detail::check_batch_size(function, options_, batch.count);
    if (batch.count > 1) detail::check_finite<C>(function, options_, batch);
    detail::normalize_with(options_, state_, statistics(function, batch), in, out, execution);
  }

  /// The other half of train: moves the running statistics on by the moments of one minibatch, or
  /// of several that were merged. It happens wholly or not at all.
  /// @throws std::invalid_argument for another number of channels, a negative count, or one value
  ///         per channel (as train)
  /// @throws std::domain_error for moments that no data can have, and results that are not finite
  [[gnu::noinline]] void commit(const BatchMoments& batch) {
    constexpr const char* function = "BatchNorm::commit";
    detail::check_state_shape(function, state_);
    detail::check_moments(function, batch, channels());
    if (batch.count == 0) return;
    detail::check_batch_size(function, options_, batch.count);
    if (batch.count == 1 || !detail::check_finite<C>(function, options_, batch)) return;
    check_running_update(function, options_, batch, state_);
    apply_running_update(options_, batch, state_);
  }

  /// Back-propagates through the normalisation and through the statistics of the minibatch.
  ///
  /// @param batch         what train or normalize returned for `in`
  /// @param in            the input of that call
  /// @param out_gradient  dL/dy
  /// @param in_gradient   receives dL/dx; may be the same memory as out_gradient or in. For
  ///                      with_residual(x, r), with_residual(dx, dr): dr may be the memory of dy, r
  ///                      or x, but not of dx
  /// @return dL/dgamma and dL/dbeta, summed over the minibatch
  /// @throws std::invalid_argument for wrong shapes, overlapping memory, or moments of another
  ///         number of channels or values than `in`
  /// Cost: two reads of `in` and `out_gradient`, one write. math/backward.hpp has the derivation.
  [[gnu::noinline]] ParameterGradients backward(const BatchMoments& batch, const Input<T>& in,
                                                const Input<T>& out_gradient,
                                                const GradientOutput<T>& in_gradient,
                                                const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward";
    if (execution.collective() != nullptr) {
      return detail::input_gradients_together(function, options_, state_, batch, in, out_gradient,
                                              in_gradient, execution,
                                              [&] { return statistics(function, batch); });
    }
    detail::check_state_shape(function, state_);
    detail::check_backward(function, channels(), in, out_gradient, in_gradient);
    detail::check_batch(function, batch, channels(), in.view());
    if (in.view().empty()) return ParameterGradients(channels());
    detail::check_batch_size(function, options_, batch.count);
    return detail::input_gradients(options_, state_, statistics(function, batch), batch.count == 1,
                                   in, out_gradient, in_gradient, execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  [[nodiscard]] auto backward(const BatchMoments& batch, const In& in, const Input<T>& out_gradient,
                              const Execution& execution = {}) const {
    auto in_gradient = detail::make_owner_like(in);
    ParameterGradients gradients =
        backward(batch, in, out_gradient, detail::view_of_owner(in, in_gradient), execution);
    return BackwardResult<decltype(in_gradient), typename ParameterGradients::Vector>{
        std::move(in_gradient), std::move(gradients.gamma), std::move(gradients.beta)};
  }

  /// The first half of backward for a piece of a minibatch: its share of the two sums that every
  /// dL/dx depends on. Merge those of all pieces, then call backward(batch, sums, ...) for each.
  ///
  /// @param batch  the moments of the whole minibatch, those that its pieces were normalised with
  /// @throws what backward does, but moments may be of more values than `in`
  /// Cost: one read of `in` and `out_gradient`.
  [[nodiscard]] BatchSums backward_sums(const BatchMoments& batch, const Input<T>& in,
                                        const Input<T>& out_gradient,
                                        const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward_sums";
    detail::check_state_shape(function, state_);
    detail::check_backward_inputs(function, channels(), in, out_gradient);
    detail::check_piece(function, batch, channels(), in.view());
    BatchSums sums(channels());
    sums.count = in.view().values_per_channel();
    if (in.view().empty()) return sums;
    detail::check_batch_size(function, options_, batch.count);
    auto tables = detail::input_tables(options_, state_, statistics(function, batch));
    detail::input_backward(options_, false, tables, in, out_gradient).sum(execution, sums);
    return sums;
  }

  /// The second half: dL/dx of a piece.
  /// @param sums  those of the whole minibatch, of as many values as `batch`
  /// @throws what backward does, and std::invalid_argument for sums of another number of channels
  ///         or values
  /// Cost: one read of `in` and `out_gradient`, one write.
  void backward(const BatchMoments& batch, const BatchSums& sums, const Input<T>& in,
                const Input<T>& out_gradient, const GradientOutput<T>& in_gradient,
                const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward";
    detail::check_state_shape(function, state_);
    detail::check_backward(function, channels(), in, out_gradient, in_gradient);
    detail::check_piece(function, batch, channels(), in.view());
    detail::check_sums(function, sums, channels(), batch.count);
    if (in.view().empty()) return;
    detail::check_batch_size(function, options_, batch.count);
    auto tables = detail::input_tables(options_, state_, statistics(function, batch));
    detail::input_backward(options_, batch.count == 1, tables, in, out_gradient)
        .map_with(execution, sums, {in_gradient.view(), in_gradient.residual()});
  }

  /// dL/dgamma and dL/dbeta from the sums: of the whole minibatch, or the share of a piece.
  /// @throws std::invalid_argument for sums of another number of channels
  [[nodiscard, gnu::noinline]] ParameterGradients parameter_gradients(const BatchSums& sums) const {
    constexpr const char* function = "BatchNorm::parameter_gradients";
    detail::check_state_shape(function, state_);
    detail::check_sums(function, sums, channels(), sums.count);
    return detail::gradients_of<T>(options_, sums);
  }

  /// Back-propagates through infer, whose statistics are constants: for fine-tuning with them.
  [[gnu::noinline]] ParameterGradients backward_frozen(const Input<T>& in,
                                                       const Input<T>& out_gradient,
                                                       const GradientOutput<T>& in_gradient,
                                                       const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward_frozen";
    detail::check_state_shape(function, state_);
    detail::check_backward(function, channels(), in, out_gradient, in_gradient);
    return detail::input_gradients(options_, state_, running_statistics(function), true, in,
                                   out_gradient, in_gradient, execution);
  }

  /// backward for those who kept the output and not the input: train(x, x) in place, then this.
  /// xhat is recovered from y, with an error of about u (|xhat| + |beta / gamma|), u the rounding
  /// of T (6e-8 for float, 4e-3 for bfloat16). math/backward_output.hpp has the formulas.
  ///
  /// @param out  the output of train or normalize, without a residual
  /// @throws std::invalid_argument as backward, and for a ReLU, which cannot be undone
  /// @throws std::domain_error when gamma of a channel is zero, or so small beside beta that the
  ///         error of xhat would exceed 1/128
  ParameterGradients backward_from_output(const BatchMoments& batch, const Input<T>& out,
                                          const Input<T>& out_gradient,
                                          const GradientOutput<T>& in_gradient,
                                          const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward_from_output";
    if (execution.collective() != nullptr) {
      return detail::output_gradients_together(function, options_, state_, batch, out, out_gradient,
                                               in_gradient, execution,
                                               [&] { return statistics(function, batch); });
    }
    detail::check_state_shape(function, state_);
    detail::check_no_residual(function, out);
    detail::check_backward(function, channels(), out, out_gradient, in_gradient);
    detail::check_batch(function, batch, channels(), out.view());
    detail::check_invertible<T>(function, options_, state_);
    BatchSums sums(channels());
    if (out.view().empty()) return ParameterGradients(channels());
    detail::check_batch_size(function, options_, batch.count);
    auto tables = detail::output_tables(options_, state_, statistics(function, batch));
    auto formula = detail::formula_options<C>(options_.epilogue, false);
    formula.fixed_statistics = batch.count == 1;
    sums.count = batch.count;
    detail::OutputBackward<T, Channels>(formula, tables, {out.view()}, out_gradient.view())
        .run(execution, sums, {in_gradient.view()});
    return detail::gradients_of<T>(options_, sums);
  }

  /// Normalises one example or many with the running statistics, to the bits of freeze(), which is
  /// faster when many calls follow. Allocates nothing.
  /// @throws std::domain_error when the layer has no statistics: it never saw a minibatch and was
  ///         given no state; or when gamma, beta, a running statistic or
  ///         gamma / sqrt(variance + epsilon) is not finite (unless that is to be propagated)
  [[gnu::noinline]] void infer(const Input<T>& in, const Output<T>& out,
                               const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::infer";
    detail::check_state_shape(function, state_);
    detail::check_forward(function, channels(), in, out);
    detail::normalize_with(options_, state_, running_statistics(function), in, out, execution);
  }

  template <class In>
  [[nodiscard]] auto infer(const In& in, const Execution& execution = {}) const {
    auto output = detail::make_owner_like(detail::lead_of(in));
    infer(in, detail::view_of_owner(detail::lead_of(in), output), execution);
    return output;
  }

  /// The inference path as an object of its own. @throws std::domain_error as infer, and for
  /// statistics that are marked as stale (State::mark_stale) unless `stale` accepts them
  [[nodiscard, gnu::noinline]] FrozenBatchNorm<T, Channels> freeze(
      StaleStatistics stale = StaleStatistics::refuse) const {
    detail::check_has_statistics("BatchNorm::freeze", state_, state_given_);
    return {"BatchNorm::freeze", state_, options_, stale, "freeze(StaleStatistics::accept)"};
  }

  /// What the layer has learned and seen; to be changed, saved or replaced. Calls check it anew.
  State<T, Channels>& state() { return state_; }
  const State<T, Channels>& state() const { return state_; }
  const Options& options() const { return options_; }

 private:
  using Statistics = detail::StatisticsView<A>;

  struct Forward {
    BatchMoments batch;
    bool update;  ///< whether the running statistics follow
  };

  /// Algorithm 1. When a commit follows, it is known before the output is written that it will
  /// succeed: an output that is its input cannot be computed twice.
  [[gnu::noinline]] Forward forward(const char* function, const Input<T>& in, const Output<T>& out,
                                    const Execution& execution, bool commit_follows) const {
    BatchMoments batch;
    if (execution.collective() != nullptr) {
      batch =
          detail::forward_together(function, options_, state_, in, out, execution, commit_follows);
    } else {
      detail::check_state_shape(function, state_);
      detail::check_forward(function, channels(), in, out);
      const Index count = in.view().values_per_channel();
      // Where nothing can be rejected, a channel may be written before the next one is looked at.
      if (count > 1 && options_.non_finite == NonFinite::propagate &&
          options_.epsilon > detail::min_invertible_variance) {
        if (commit_follows) check_counter(function, options_.running, state_);
        return {detail::normalize_fused(options_, state_, {in.view(), in.residual()}, out.view(),
                                        execution),
                true};
      }
      batch = detail::moments_of_view<Channels, T>(in.view(), execution);
    }
    if (batch.count == 0) return {std::move(batch), false};
    detail::check_batch_size(function, options_, batch.count);
    const bool update = batch.count > 1 && detail::check_finite<C>(function, options_, batch);
    const Statistics use = statistics(function, batch);
    if (commit_follows && update) check_running_update(function, options_, batch, state_);
    detail::normalize_with_tables<Channels>(options_, state_, use, {in.view(), in.residual()},
                                            out.view(), execution);
    return {std::move(batch), update};
  }

  Statistics statistics(const char* function, const BatchMoments& batch) const {
    return detail::usable_statistics(function, options_, state_, state_given_, batch);
  }
  Statistics running_statistics(const char* function) const {
    return detail::usable_running_statistics(function, options_, state_, state_given_);
  }

  Options options_;
  State<T, Channels> state_;
  bool state_given_ = false;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LAYER_HPP
