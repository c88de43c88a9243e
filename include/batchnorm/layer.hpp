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

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer_core.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"

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
/// Shapes: inputs are BatchViews of `channels()` channels, or Eigen objects of features x examples;
/// an output has the shape of its input and is the same memory or memory that does not overlap it.
/// Statistics are per channel, over samples and positions. Every call that loops takes an optional
/// Execution last. Calls that are given their output allocate numbers per channel at most, and with
/// `Channels` fixed nothing; infer allocates nothing.
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
  using ParameterGradients = Gradients<T, Channels>;

  /// A layer that has seen nothing: gamma 1, beta 0.
  /// @throws std::invalid_argument when channels is not positive or epsilon is wrong
  explicit BatchNorm(Index channels, Options options = {}) : core_(channels, options) {}

  /// The same for a layer whose type says the number of channels.
  template <int Fixed = Channels, std::enable_if_t<Fixed != Eigen::Dynamic, int> = 0>
  BatchNorm() : BatchNorm(Fixed) {}

  /// A layer that goes on from a state, say of a checkpoint.
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when a running variance is negative or a running statistic is not
  ///         finite
  BatchNorm(State<T, Channels> state, Options options) : core_(std::move(state), options) {}

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
    const auto held = detail::as_input<T>(in);
    return core_.train(Inputs<1>{held.view()}, detail::as_output<T>(std::forward<Out>(out)),
                       execution);
  }

  /// The same with a residual: y = f(gamma xhat + beta + residual). `out` may be either input.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments train(const In& in, const Residual& residual, Out&& out,
                     const Execution& execution = {}) {
    const auto held = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    return core_.train(Inputs<2>{held.view(), added.view()},
                       detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  auto train(const In& in, const Execution& execution = {}) {
    const auto held = detail::as_input<T>(in);
    auto output = detail::make_owner_like(held.view());
    BatchMoments batch =
        core_.train(Inputs<1>{held.view()}, detail::view_of_owner(held.view(), output), execution);
    return TrainResult<decltype(output), BatchMoments>{std::move(output), std::move(batch)};
  }

  /// train without the commit: the layer stays as it is, so that it may be called twice for one
  /// minibatch (recomputation) or on many threads. Throws what train throws.
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments normalize(const In& in, Out&& out, const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    return core_.normalize(Inputs<1>{held.view()}, detail::as_output<T>(std::forward<Out>(out)),
                           execution);
  }

  /// The same with a residual, as train.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  BatchMoments normalize(const In& in, const Residual& residual, Out&& out,
                         const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    return core_.normalize(Inputs<2>{held.view(), added.view()},
                           detail::as_output<T>(std::forward<Out>(out)), execution);
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
    const auto x = detail::as_input<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward(batch, Inputs<1>{x.view()}, dy.view(),
                          Outputs<1>{detail::as_output<T>(std::forward<InGradient>(in_gradient))},
                          execution);
  }

  /// The same for a call with a residual.
  /// @param residual_gradient  receives dL/dresidual; may be the memory of out_gradient, residual
  ///                           or in, but not of in_gradient
  template <class In, class Residual, class OutGradient, class InGradient, class ResidualGradient>
  ParameterGradients backward(const BatchMoments& batch, const In& in, const Residual& residual,
                              const OutGradient& out_gradient, InGradient&& in_gradient,
                              ResidualGradient&& residual_gradient,
                              const Execution& execution = {}) const {
    const auto x = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward(
        batch, Inputs<2>{x.view(), added.view()}, dy.view(),
        Outputs<2>{detail::as_output<T>(std::forward<InGradient>(in_gradient)),
                   detail::as_output<T>(std::forward<ResidualGradient>(residual_gradient))},
        execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In, class OutGradient>
  auto backward(const BatchMoments& batch, const In& in, const OutGradient& out_gradient,
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

  /// Back-propagates through infer: the running statistics are constants, gamma and beta still have
  /// gradients. For fine-tuning with frozen statistics.
  template <class In, class OutGradient, class InGradient,
            std::enable_if_t<!detail::is_execution<InGradient>, int> = 0>
  ParameterGradients backward_frozen(const In& in, const OutGradient& out_gradient,
                                     InGradient&& in_gradient,
                                     const Execution& execution = {}) const {
    const auto x = detail::as_input<T>(in);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward_frozen(
        Inputs<1>{x.view()}, dy.view(),
        Outputs<1>{detail::as_output<T>(std::forward<InGradient>(in_gradient))}, execution);
  }

  /// The same for a call with a residual, as backward.
  template <class In, class Residual, class OutGradient, class InGradient, class ResidualGradient,
            std::enable_if_t<!detail::is_execution<ResidualGradient>, int> = 0>
  ParameterGradients backward_frozen(const In& in, const Residual& residual,
                                     const OutGradient& out_gradient, InGradient&& in_gradient,
                                     ResidualGradient&& residual_gradient,
                                     const Execution& execution = {}) const {
    const auto x = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    const auto dy = detail::as_input<T>(out_gradient);
    return core_.backward_frozen(
        Inputs<2>{x.view(), added.view()}, dy.view(),
        Outputs<2>{detail::as_output<T>(std::forward<InGradient>(in_gradient)),
                   detail::as_output<T>(std::forward<ResidualGradient>(residual_gradient))},
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
  ///         given no state
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void infer(const In& in, Out&& out, const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    core_.infer(Inputs<1>{held.view()}, detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// The same with a residual, as train.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void infer(const In& in, const Residual& residual, Out&& out,
             const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    core_.infer(Inputs<2>{held.view(), added.view()}, detail::as_output<T>(std::forward<Out>(out)),
                execution);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <class In>
  auto infer(const In& in, const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    auto output = detail::make_owner_like(held.view());
    core_.infer(Inputs<1>{held.view()}, detail::view_of_owner(held.view(), output), execution);
    return output;
  }

  /// The inference path as an object of its own. @throws std::domain_error as infer
  FrozenBatchNorm<T, Channels> freeze() const { return core_.freeze(); }

  /// What the layer has learned and seen; to be changed, saved or replaced. Calls check it anew.
  State<T, Channels>& state() { return core_.state; }
  const State<T, Channels>& state() const { return core_.state; }
  const Options& options() const { return core_.options; }

 private:
  template <std::size_t N>
  using Inputs = std::array<BatchView<const T>, N>;
  template <std::size_t N>
  using Outputs = std::array<BatchView<T>, N>;

  detail::LayerCore<T, Channels> core_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LAYER_HPP
