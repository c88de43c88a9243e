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
#include "batchnorm/math/forward.hpp"
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

// Longer than most: the calls of a layer and what each of them promises; math/ does the work.

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
/// Shapes: inputs are BatchViews of `channels()` channels, Eigen objects of features x examples,
/// with_residual of two such, or masked or weighted; an output has the shape of its input and is
/// the same memory or disjoint. Statistics are per channel, over samples and positions. Calls that
/// loop take an Execution last, which says who does the work; with a Synchronize, train, normalize
/// and backward are of a minibatch that several ranks share (distributed/README.md). Cost: each
/// call says how often it reads and writes the data. Those that are given their output allocate
/// numbers per channel and what a mask needs at most, with `Channels` fixed and no mask nothing;
/// all others, one pass over the channels.
///
/// A plain value: copy it, move it, keep it in a std::vector. Thread safety: const members may be
/// called from many threads at once. Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms
/// 1 and 2.
///
/// @tparam T         scalar of the data: float, half, bfloat16, or any other real one of Eigen's
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class BatchNorm : private detail::PositionalResiduals<Moments<accumulator_t<T>, Channels>> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  using Scalar = T;                                   ///< of the data
  using BatchMoments = Moments<A, Channels>;          ///< what train returns and backward takes
  using BatchSums = GradientSums<A, Channels>;        ///< of backward_sums, for pieces
  using ParameterGradients = Gradients<T, Channels>;  ///< dL/dgamma and dL/dbeta

  /// Where a residual as an argument of its own ends, when compiled.
  using Refused = detail::PositionalResiduals<BatchMoments>;
  using Refused::backward, Refused::backward_frozen, Refused::infer, Refused::normalize,
      Refused::train;

  /// A layer whose type says the number of channels and that has seen nothing; without a fixed
  /// number an empty one, as a member that is assigned to later. Calling that is an error.
  BatchNorm() = default;

  /// The same with options, for a fixed number of channels.
  /// @throws std::invalid_argument when the options are wrong
  template <int Fixed = Channels, std::enable_if_t<Fixed != Eigen::Dynamic, int> = 0>
  explicit BatchNorm(Options options) : options_(options) {
    detail::validate_for<T>(options_);
  }

  /// A layer that has seen nothing: gamma 1, beta 0.
  /// @throws std::invalid_argument when channels is not positive or the options are wrong
  explicit BatchNorm(Index channels, Options options = {}) : options_(options), state_(channels) {
    detail::validate_for<T>(options_);
  }

  /// A layer that goes on from a state, say of a checkpoint.
  /// @throws std::invalid_argument when the parts of the state differ in size, or options are wrong
  /// @throws std::domain_error when a running variance is negative or a statistic is not finite
  BatchNorm(State<T, Channels> state, Options options)
      : options_(options), state_(std::move(state)), state_given_(true) {
    detail::validate_for<T>(options_);
    detail::check_state("BatchNorm", state_, options_.non_finite);
  }

  /// Refuses a bare number when compiled.
  template <class First, class Number, detail::if_bare_number<Number> = 0>
  BatchNorm(const First&, Number) {
    detail::refuse_bare_number<Number>();
  }

  /// 0 for an empty layer.
  Index channels() const { return state_.channels(); }
  /// Whether infer and freeze have running statistics: of a minibatch, or of a state given to it.
  bool has_statistics() const { return detail::has_statistics(state_, state_given_); }

  // Noinline: what compilers inline, they compile in every file, compiled.hpp or not.
  /// Normalises a minibatch with its own statistics, then moves the running statistics on.
  ///
  /// @return the moments of the minibatch, which backward wants to have
  /// @throws std::invalid_argument for wrong shapes, overlaps, one value per channel (SingleValue)
  /// @throws std::domain_error for NaN, infinity and overflow of the data (unless
  ///         Options::non_finite says otherwise) and of gamma, beta and gamma / sqrt(variance +
  ///         epsilon) (unless propagated), a running variance below zero, and for channels without
  ///         variance when epsilon is 0
  ///
  /// An empty minibatch gives an empty output and changes nothing. Cost: two reads and one write of
  /// the data; one read with NonFinite::propagate, where channels lie apart and fit the cache.
  [[gnu::noinline]] BatchMoments train(const Input<T>& in, const Output<T>& out,
                                       const Execution& execution = {}) {
    return forward("BatchNorm::train", in, out, execution, &state_);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  auto train(const In& in, const Execution& execution = {}) {
    auto output = detail::make_owner_like(detail::lead_of(in));
    BatchMoments batch = train(in, detail::view_of_owner(detail::lead_of(in), output), execution);
    return TrainResult<decltype(output), BatchMoments>{std::move(output), std::move(batch)};
  }

  /// train without the commit: the layer stays as it is, so that it may be called twice for one
  /// minibatch (recomputation) or on many threads.
  /// @throws what train throws
  /// Cost: that of train.
  BatchMoments normalize(const Input<T>& in, const Output<T>& out,
                         const Execution& execution = {}) const {
    return forward("BatchNorm::normalize", in, out, execution, nullptr);
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
    const Selected chosen(function, in);
    detail::check_piece(function, batch, channels(), chosen.count);
    if (in.view().empty()) return;
    if (batch.count == 0) return detail::fill_output(chosen.views, out.view(), execution);
    detail::check_given_batch<C>(function, options_, batch);
    detail::write_output(options_, state_, statistics(function, batch), chosen.views, out,
                         execution);
  }

  /// The other half of train: moves the running statistics on by the moments of one minibatch, or
  /// of several that were merged. It happens wholly or not at all.
  /// @throws std::invalid_argument for another number of channels, a negative count, or one value
  ///         per channel (as train)
  /// @throws std::domain_error for moments that no data can have, a running variance below zero,
  ///         and results that are not finite
  /// Cost: one pass over the channels; allocates nothing.
  [[gnu::noinline]] void commit(const BatchMoments& batch) {
    constexpr const char* function = "BatchNorm::commit";
    detail::check_state_shape(function, state_);
    detail::check_moments(function, batch, channels());
    if (batch.count == 0) return;
    detail::check_batch_size(function, options_, batch.count);
    if (!detail::may_update<C>(function, options_, batch)) return;
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
  /// @return dL/dgamma and dL/dbeta, summed over the minibatch; over this rank's part of it unless
  ///         SynchronizeOptions::parameter_gradients says otherwise
  /// @throws std::invalid_argument for wrong shapes, overlapping memory, or moments of another
  ///         number of channels or values than `in`; std::domain_error for numbers per channel that
  ///         normalize refuses. NaN in `in` or out_gradient passes into its channel's gradients.
  /// Cost: two reads of `in` and `out_gradient`, one write. math/backward.hpp has the derivation.
  [[gnu::noinline]] ParameterGradients backward(const BatchMoments& batch, const Input<T>& in,
                                                const Input<T>& out_gradient,
                                                const GradientOutput<T>& in_gradient,
                                                const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward";
    if (execution.collective() != nullptr) {
      return detail::input_gradients_together<T, Channels>(
          {function, options_, state_, state_given_, batch, in, out_gradient, in_gradient},
          execution);
    }
    detail::check_state_shape(function, state_);
    detail::check_backward(function, channels(), in, out_gradient, in_gradient);
    const Selected chosen(function, in);
    detail::check_batch(function, batch, channels(), chosen.count);
    detail::check_given_batch<C>(function, options_, batch);
    return detail::input_gradients(options_, state_, statistics(function, batch), Divisor(batch),
                                   chosen.views, out_gradient.view(), in_gradient, execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  [[nodiscard]] auto backward(const BatchMoments& batch, const In& in, const Input<T>& out_gradient,
                              const Execution& execution = {}) const {
    const auto& like = detail::without_mask(in);
    auto in_gradient = detail::make_owner_like(like);
    ParameterGradients gradients =
        backward(batch, in, out_gradient, detail::view_of_owner(like, in_gradient), execution);
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
    const Selected chosen(function, in);
    BatchSums sums(channels());
    sums.count = chosen.count;
    detail::check_piece(function, batch, channels(), sums.count);
    if (in.view().empty() || batch.count == 0) return sums;
    detail::check_given_batch<C>(function, options_, batch);
    auto tables = detail::input_tables(options_, state_, statistics(function, batch));
    detail::input_backward(options_, Divisor(batch), tables, chosen.views, out_gradient.view())
        .sum(execution, sums);
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
    const Selected chosen(function, in);
    detail::check_piece(function, batch, channels(), chosen.count);
    detail::check_sums(function, sums, channels(), batch.count);
    if (in.view().empty()) return;
    detail::check_given_batch<C>(function, options_, batch);
    detail::piece_gradients(options_, state_, statistics(function, batch), Divisor(batch), sums,
                            chosen.views, out_gradient.view(), in_gradient, execution);
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
  /// Parameters and result are those of backward, without moments.
  /// @throws std::invalid_argument as backward, std::domain_error as infer
  /// Cost: one read of `in` and `out_gradient`, one write of `in_gradient`.
  [[gnu::noinline]] ParameterGradients backward_frozen(const Input<T>& in,
                                                       const Input<T>& out_gradient,
                                                       const GradientOutput<T>& in_gradient,
                                                       const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward_frozen";
    detail::check_state_shape(function, state_);
    detail::check_backward(function, channels(), in, out_gradient, in_gradient);
    const Selected chosen(function, in);
    return detail::input_gradients(options_, state_, running_statistics(function), Divisor(),
                                   chosen.views, out_gradient.view(), in_gradient, execution);
  }

  /// backward for those who kept the output and not the input: train(x, x) in place, then this.
  /// xhat is recovered from y, with an error of about u (|xhat| + |beta / gamma|), u the rounding
  /// of T (6e-8 for float, 4e-3 for bfloat16). math/backward_output.hpp has the formulas.
  ///
  /// @param out  the output of train or normalize, without a residual; out_gradient and in_gradient
  ///             are those of backward
  /// @throws std::invalid_argument as backward, and for a ReLU, which cannot be undone
  /// @throws std::domain_error when gamma of a channel is zero, or so small beside beta that the
  ///         error of xhat would exceed 1/128
  /// Cost: that of backward, with the output in the place of the input.
  ParameterGradients backward_from_output(const BatchMoments& batch, const Input<T>& out,
                                          const Input<T>& out_gradient,
                                          const GradientOutput<T>& in_gradient,
                                          const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::backward_from_output";
    if (execution.collective() != nullptr) {
      return detail::output_gradients_together<T, Channels>(
          {function, options_, state_, state_given_, batch, out, out_gradient, in_gradient},
          execution);
    }
    detail::check_state_shape(function, state_);
    detail::check_no_residual(function, out);
    detail::check_backward(function, channels(), out, out_gradient, in_gradient);
    const Selected chosen(function, out);
    detail::check_batch(function, batch, channels(), chosen.count);
    detail::check_invertible<T>(function, options_, state_);
    detail::check_given_batch<C>(function, options_, batch);
    return detail::output_gradients(options_, state_, statistics(function, batch), Divisor(batch),
                                    chosen.views, out_gradient.view(), in_gradient.view(),
                                    execution);
  }

  /// Normalises one example or many with the running statistics, to the bits of freeze(), which is
  /// faster when many calls follow. Allocates nothing.
  /// @throws std::domain_error without statistics (no minibatch, no state), and when one of them,
  ///         gamma, beta or gamma / sqrt(variance + epsilon) is not finite (unless propagated)
  /// Cost: one read and one write of the data.
  [[gnu::noinline]] void infer(const Input<T>& in, const Output<T>& out,
                               const Execution& execution = {}) const {
    constexpr const char* function = "BatchNorm::infer";
    detail::check_state_shape(function, state_);
    detail::check_forward(function, channels(), in, out);
    const Selected chosen(function, in);
    detail::write_output(options_, state_, running_statistics(function), chosen.views, out,
                         execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
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
  /// The same, to be looked at.
  const State<T, Channels>& state() const { return state_; }
  /// What the layer was made with; it cannot be changed.
  const Options& options() const { return options_; }

 private:
  using Statistics = detail::StatisticsView<A>;
  using Selected = detail::SelectedInput<T>;
  using Divisor = detail::MinibatchDivisor<A>;

  [[gnu::noinline]] BatchMoments forward(const char* function, const Input<T>& in,
                                         const Output<T>& out, const Execution& execution,
                                         State<T, Channels>* step) const {
    return detail::forward_pass<T, Channels>(
        {function, options_, state_, state_given_, in, out, step}, execution);
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
