// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LAYER_HPP
#define BATCHNORM_LAYER_HPP

// Where each step lives. There is no loop and no formula in this file.
//
//   train      arguments to views        view/argument.hpp
//              checks, order of steps    layer_core.hpp          (view/check.hpp, state.hpp)
//              moments of the minibatch  math/moments.hpp        (loop 1, loops/reduce.hpp)
//              output                    math/normalize.hpp      (loop 2, loops/map.hpp)
//              running statistics, last  math/running.hpp        (commit)
//   backward   two sums, then gradients  math/backward.hpp       (both, loops/resident.hpp)
//   infer      output                    math/normalize.hpp      (loop 2)
//   freeze     the map of infer, made up frozen.hpp

#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer_core.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/residual.hpp"

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
/// that loops takes an optional Execution last. Calls that are given their output allocate numbers
/// per channel at most, and with `Channels` fixed nothing; infer allocates nothing.
///
/// A plain value: copy it, move it, keep it in a std::vector. Const members may be called from many
/// threads at once. Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms 1 and 2.
///
/// @tparam T         scalar of the data: float, double, long double, half, bfloat16 or any other of
///                   Eigen's
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class BatchNorm {
 public:
  using Scalar = T;
  using BatchMoments = Moments<accumulator_t<T>, Channels>;
  using BatchSums = GradientSums<accumulator_t<T>, Channels>;
  using ParameterGradients = Gradients<T, Channels>;

  /// A layer whose type says the number of channels and that has seen nothing; without a fixed
  /// number an empty one, as a member that is assigned to later. Calling that is an error.
  BatchNorm() : core_(Options()) {}

  /// The first, with options.
  template <int Fixed = Channels, std::enable_if_t<Fixed != Eigen::Dynamic, int> = 0>
  explicit BatchNorm(Options options) : core_(options) {}

  /// A layer that has seen nothing: gamma 1, beta 0.
  /// @throws std::invalid_argument when channels is not positive or epsilon is wrong
  explicit BatchNorm(Index channels, Options options = {}) : core_(channels, options) {}

  /// A layer that goes on from a state, say of a checkpoint.
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when a running variance is negative or a running statistic is not
  ///         finite
  BatchNorm(State<T, Channels> state, Options options) : core_(std::move(state), options) {}

  /// Refuse a bare number when compiled: it could be anything.
  template <class Number, detail::if_bare_number<Number> = 0>
  BatchNorm(Index, Number) : BatchNorm() {
    detail::refuse_bare_number<Number>();
  }
  template <class Number, detail::if_bare_number<Number> = 0>
  BatchNorm(const State<T, Channels>&, Number) : BatchNorm() {
    detail::refuse_bare_number<Number>();
  }

  /// 0 for an empty layer.
  Index channels() const { return core_.channels(); }

  /// Normalises a minibatch with its own statistics, then moves the running statistics on.
  ///
  /// @return the moments of the minibatch, which backward wants to have
  /// @throws std::invalid_argument for wrong shapes, overlapping memory, or one value per channel
  ///         (unless Options::single_value says otherwise)
  /// @throws std::domain_error for NaN, infinity and overflow (unless Options::non_finite says
  ///         otherwise), and for channels without variance when epsilon is 0
  /// An empty minibatch gives an empty output and changes nothing. Cost: two reads and one write of
  /// the data; one read with NonFinite::propagate, where channels lie apart and fit the cache.
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments train(const In& in, Out&& out, const Execution& execution = {}) {
    const auto held = detail::as_inputs<T>(in);
    return core_.train(held.views(), detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// The same as with_residual(in, residual), which cannot be taken for another call:
  /// y = f(gamma xhat + beta + residual). `out` may be either input.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments train(const In& in, const Residual& residual, Out&& out,
                     const Execution& execution = {}) {
    return train(with_residual(in, residual), std::forward<Out>(out), execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  auto train(const In& in, const Execution& execution = {}) {
    const auto held = detail::as_inputs<T>(in);
    auto output = detail::make_owner_like(held.lead());
    BatchMoments batch =
        core_.train(held.views(), detail::view_of_owner(held.lead(), output), execution);
    return TrainResult<decltype(output), BatchMoments>{std::move(output), std::move(batch)};
  }

  /// train without the commit: the layer stays as it is, so that it may be called twice for one
  /// minibatch (recomputation) or on many threads. Throws what train throws.
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments normalize(const In& in, Out&& out, const Execution& execution = {}) const {
    const auto held = detail::as_inputs<T>(in);
    return core_.normalize(held.views(), detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// The same with a residual, as train.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments normalize(const In& in, const Residual& residual, Out&& out,
                         const Execution& execution = {}) const {
    return normalize(with_residual(in, residual), std::forward<Out>(out), execution);
  }

  /// Normalises a piece of a minibatch that does not lie in one place: samples of several matrices,
  /// of several devices, or read one after the other.
  ///
  ///     auto batch = moments_of(x1);
  ///     batch.merge(moments_of(x2));             // of all pieces
  ///     layer.normalize(batch, x1, y1);          // each piece with the moments of the whole
  ///     layer.normalize(batch, x2, y2);
  ///     layer.commit(batch);                     // once
  ///
  /// @param batch  the moments of the whole minibatch
  /// @throws what normalize does, and std::invalid_argument for moments of another number of
  ///         channels or of fewer values than `in`
  /// Cost: one read and one write of the piece.
  template <class In, class Out>
  void normalize(const BatchMoments& batch, const In& in, Out&& out,
                 const Execution& execution = {}) const {
    const auto held = detail::as_inputs<T>(in);
    core_.normalize_piece(batch, held.views(), detail::as_output<T>(std::forward<Out>(out)),
                          execution);
  }

  /// The other half of train: moves the running statistics on by the moments of one minibatch, or
  /// of several that were merged. A transaction: it happens wholly or not at all.
  /// @throws std::invalid_argument for another number of channels, a negative count, or one value
  ///         per channel (as train)
  /// @throws std::domain_error for moments that no data can have, and results that are not finite
  void commit(const BatchMoments& batch) { core_.commit(batch); }

  /// Back-propagates through the normalisation and through the statistics of the minibatch.
  ///
  /// @param batch         what train or normalize returned for `in`
  /// @param in            the input of that call
  /// @param out_gradient  dL/dy
  /// @param in_gradient   receives dL/dx; may be the same memory as out_gradient or in
  /// @return dL/dgamma and dL/dbeta, summed over the minibatch
  /// @throws std::invalid_argument for wrong shapes, overlapping memory, or moments of another
  ///         number of channels or values than `in`
  /// Cost: two reads of `in` and `out_gradient`, one write. math/backward.hpp has the derivation.
  template <class In, class OutGradient, class InGradient,
            std::enable_if_t<!detail::is_execution<InGradient>, int> = 0>
  ParameterGradients backward(const BatchMoments& batch, const In& in,
                              const OutGradient& out_gradient, InGradient&& in_gradient,
                              const Execution& execution = {}) const {
    const auto x = detail::as_inputs<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward(batch, x.views(), dy.view(),
                          detail::as_outputs<T, In>(std::forward<InGradient>(in_gradient)),
                          execution);
  }

  /// The same as with_residual(in, residual) and with_residual(in_gradient, residual_gradient).
  /// @param residual_gradient  receives dL/dresidual; may be the memory of out_gradient, residual
  ///                           or in, but not of in_gradient
  template <class In, class Residual, class OutGradient, class InGradient, class ResidualGradient,
            std::enable_if_t<!detail::is_execution<ResidualGradient>, int> = 0>
  ParameterGradients backward(const BatchMoments& batch, const In& in, const Residual& residual,
                              const OutGradient& out_gradient, InGradient&& in_gradient,
                              ResidualGradient&& residual_gradient,
                              const Execution& execution = {}) const {
    return backward(batch, with_residual(in, residual), out_gradient,
                    with_residual(std::forward<InGradient>(in_gradient),
                                  std::forward<ResidualGradient>(residual_gradient)),
                    execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In, class OutGradient>
  [[nodiscard]] auto backward(const BatchMoments& batch, const In& in,
                              const OutGradient& out_gradient,
                              const Execution& execution = {}) const {
    const auto x = detail::as_input<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    auto in_gradient = detail::make_owner_like(x.view());
    ParameterGradients gradients =
        core_.backward(batch, Inputs<1>{x.view()}, dy.view(),
                       Outputs<1>{detail::view_of_owner(x.view(), in_gradient)}, execution);
    return BackwardResult<decltype(in_gradient), typename ParameterGradients::Vector>{
        std::move(in_gradient), std::move(gradients.gamma), std::move(gradients.beta)};
  }

  /// The first half of backward for a piece of a minibatch: its share of the two sums that every
  /// dL/dx depends on.
  ///
  ///     auto sums = layer.backward_sums(batch, x1, dy1);
  ///     sums.merge(layer.backward_sums(batch, x2, dy2));      // of all pieces
  ///     layer.backward(batch, sums, x1, dy1, dx1);            // each piece with those of the
  ///     whole layer.backward(batch, sums, x2, dy2, dx2); auto [gamma, beta] =
  ///     layer.parameter_gradients(sums); // once
  ///
  /// @param batch  the moments of the whole minibatch, those that its pieces were normalised with
  /// @throws what backward does, but moments may be of more values than `in`
  /// Cost: one read of `in` and `out_gradient`.
  template <class In, class OutGradient>
  [[nodiscard]] BatchSums backward_sums(const BatchMoments& batch, const In& in,
                                        const OutGradient& out_gradient,
                                        const Execution& execution = {}) const {
    const auto x = detail::as_inputs<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward_sums(batch, x.views(), dy.view(), execution);
  }

  /// The second half: dL/dx of a piece.
  /// @param sums  those of the whole minibatch, of as many values as `batch`
  /// @throws what backward does, and std::invalid_argument for sums of another number of channels
  ///         or values
  /// Cost: one read of `in` and `out_gradient`, one write.
  template <class In, class OutGradient, class InGradient>
  void backward(const BatchMoments& batch, const BatchSums& sums, const In& in,
                const OutGradient& out_gradient, InGradient&& in_gradient,
                const Execution& execution = {}) const {
    const auto x = detail::as_inputs<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    core_.backward_piece(batch, sums, x.views(), dy.view(),
                         detail::as_outputs<T, In>(std::forward<InGradient>(in_gradient)),
                         execution);
  }

  /// dL/dgamma and dL/dbeta from the sums: of the whole minibatch, or the share of a piece.
  /// @throws std::invalid_argument for sums of another number of channels
  [[nodiscard]] ParameterGradients parameter_gradients(const BatchSums& sums) const {
    return core_.parameter_gradients(sums);
  }

  /// Back-propagates through infer: the running statistics are constants, gamma and beta still have
  /// gradients. For fine-tuning with frozen statistics.
  template <class In, class OutGradient, class InGradient,
            std::enable_if_t<!detail::is_execution<InGradient>, int> = 0>
  ParameterGradients backward_frozen(const In& in, const OutGradient& out_gradient,
                                     InGradient&& in_gradient,
                                     const Execution& execution = {}) const {
    const auto x = detail::as_inputs<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward_frozen(x.views(), dy.view(),
                                 detail::as_outputs<T, In>(std::forward<InGradient>(in_gradient)),
                                 execution);
  }

  /// The same as with_residual, as backward.
  template <class In, class Residual, class OutGradient, class InGradient, class ResidualGradient,
            std::enable_if_t<!detail::is_execution<ResidualGradient>, int> = 0>
  ParameterGradients backward_frozen(const In& in, const Residual& residual,
                                     const OutGradient& out_gradient, InGradient&& in_gradient,
                                     ResidualGradient&& residual_gradient,
                                     const Execution& execution = {}) const {
    return backward_frozen(with_residual(in, residual), out_gradient,
                           with_residual(std::forward<InGradient>(in_gradient),
                                         std::forward<ResidualGradient>(residual_gradient)),
                           execution);
  }

  /// backward for those who kept the output and not the input: train(x, x) in place, then this, so
  /// that a layer costs no memory of its own. xhat is recovered from y, with an error of about
  /// u (|xhat| + |beta / gamma|), u the rounding of T (6e-8 for float, 4e-3 for bfloat16), where
  /// backward has one of u. math/backward_output.hpp has the formulas.
  ///
  /// @param out  the output of train or normalize, without a residual
  /// @throws std::invalid_argument as backward, and when Options::epilogue is ReLU, which cannot be
  ///         undone
  /// @throws std::domain_error when gamma of a channel is zero, or so small beside beta that the
  ///         error of xhat would exceed 1/128
  template <class OutIn, class OutGradient, class InGradient>
  ParameterGradients backward_from_output(const BatchMoments& batch, const OutIn& out,
                                          const OutGradient& out_gradient, InGradient&& in_gradient,
                                          const Execution& execution = {}) const {
    const auto y = detail::as_input<T>(out);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward_from_output(batch, y.view(), dy.view(),
                                      detail::as_output<T>(std::forward<InGradient>(in_gradient)),
                                      execution);
  }

  /// Normalises one example or many with the running statistics, to the bits of freeze(), which is
  /// faster when many calls follow. Allocates nothing.
  /// @throws std::domain_error when the layer has no statistics: it never saw a minibatch and was
  ///         given no state; or when gamma, beta, a running statistic or
  ///         gamma / sqrt(variance + epsilon) is not finite (unless that is to be propagated)
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void infer(const In& in, Out&& out, const Execution& execution = {}) const {
    const auto held = detail::as_inputs<T>(in);
    core_.infer(held.views(), detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// The same with a residual, as train.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void infer(const In& in, const Residual& residual, Out&& out,
             const Execution& execution = {}) const {
    infer(with_residual(in, residual), std::forward<Out>(out), execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  [[nodiscard]] auto infer(const In& in, const Execution& execution = {}) const {
    const auto held = detail::as_inputs<T>(in);
    auto output = detail::make_owner_like(held.lead());
    core_.infer(held.views(), detail::view_of_owner(held.lead(), output), execution);
    return output;
  }

  /// The inference path as an object of its own. @throws std::domain_error as infer
  [[nodiscard]] FrozenBatchNorm<T, Channels> freeze() const { return core_.freeze(); }

  /// What the layer has learned and seen; to be changed, saved or replaced. Calls check it anew.
  State<T, Channels>& state() { return core_.state; }
  const State<T, Channels>& state() const { return core_.state; }
  const Options& options() const { return core_.options; }

 private:
  template <std::size_t N>
  using Inputs = loops::Views<const T, N>;
  template <std::size_t N>
  using Outputs = loops::Views<T, N>;

  detail::LayerCore<T, Channels> core_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LAYER_HPP
