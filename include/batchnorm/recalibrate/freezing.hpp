// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_FREEZING_HPP
#define BATCHNORM_RECALIBRATE_FREEZING_HPP

#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// Freezing the statistics of a layer is two choices: which statistics normalise, and whether the
// running ones follow the minibatch. Three of the four cases have a call of their own; this is one
// call for all, for programs that decide at run time, layer by layer.
//
//     normalises with   running ones   the same as             its gradient
//     minibatch         update         train                   backward
//     minibatch         keep           normalize               backward
//     running           keep           infer                   backward_frozen
//     running           update         infer, then commit      backward_frozen, before commit
//
// examples/README.md has the names that PyTorch, Keras and Flax give them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The statistics that a call normalises with.
enum class NormalizeWith {
  minibatch,  ///< those of the input: the gradient goes through them
  running     ///< those of the layer, which are constants: outputs do not depend on each other
};

/// What a call does to the running statistics.
enum class Running {
  update,  ///< they follow the minibatch, by the rule of the options
  keep     ///< they stay
};

/// What the way back has to know of a call of forward. A plain value.
template <class T, int Channels = Eigen::Dynamic>
struct ForwardPass {
  /// What the input was normalised with: what was asked for, or `running` for a minibatch of one
  /// value per channel that Options::single_value leaves to the running statistics.
  NormalizeWith statistics = NormalizeWith::minibatch;
  /// The moments of the input; empty where they were not needed, for (running, keep).
  Moments<accumulator_t<T>, Channels> batch;
  /// For NormalizeWith::running, what was normalised with: the statistics before an update.
  typename State<T, Channels>::Statistics running_mean,
      running_variance;  ///< likewise
};

namespace detail {
/// A parameter type that follows from the layer, so that arguments convert to it.
template <class A>
using FromLayer = std::enable_if_t<true, A>;
}  // namespace detail

/// Normalises with the statistics that are asked for, and lets the running ones follow or not. With
/// (running, update) the output is that of the statistics before: it does not depend on what else
/// is in the minibatch.
///
///     const auto pass = forward(layer, x, y, frozen ? NormalizeWith::running
///                                                   : NormalizeWith::minibatch, Running::keep);
///     const auto gradients = backward(layer, pass, x, dy, dx);
///
/// @param statistics, running  the two choices
/// @param in, out, execution   as for BatchNorm::train and infer
/// Shapes: as for train. Source: the table at the top of recalibrate/freezing.hpp.
/// @throws what train and infer throw; the layer is as before then, and so is an input in place
/// Cost: that of the call that it is the same as; (running, update) reads the input twice.
template <class T, int Channels>
ForwardPass<T, Channels> forward(BatchNorm<T, Channels>& layer,
                                 const detail::FromLayer<Input<T>>& in,
                                 const detail::FromLayer<Output<T>>& out, NormalizeWith statistics,
                                 Running running, const Execution& execution = {}) {
  ForwardPass<T, Channels> pass;
  const auto remember_running = [&] {
    pass.statistics = NormalizeWith::running;
    pass.running_mean = layer.state().running_mean;
    pass.running_variance = layer.state().running_variance;
  };
  if (statistics == NormalizeWith::minibatch) {
    pass.batch = running == Running::update ? layer.train(in, out, execution)
                                            : layer.normalize(in, out, execution);
    if (pass.batch.count == 1) remember_running();
    return pass;
  }
  remember_running();
  if (running == Running::keep) {
    layer.infer(in, out, execution);
    return pass;
  }
  // The update is tried on a copy, so that nothing is written if it is refused.
  const auto check = [&] {
    detail::check_state_shape("forward", layer.state());
    detail::check_forward("forward", layer.channels(), in, out);
  };
  pass.batch = detail::moments_seen<Channels>("forward", layer, in, execution, check);
  BatchNorm<T, Channels> next = layer;
  next.commit(pass.batch);
  layer.infer(in, out, execution);
  layer.state() = std::move(next.state());
  return pass;
}

/// Back-propagates through a call of forward, whatever has happened to the statistics of the layer
/// since.
/// @param pass  what forward returned
/// @param in    the input of that call
/// @param out_gradient, in_gradient, execution  as for BatchNorm::backward
/// @return dL/dgamma and dL/dbeta, summed over the minibatch
/// Shapes: as for backward. Cost: that of backward or backward_frozen.
/// @throws what BatchNorm::backward and backward_frozen throw, and std::invalid_argument for a pass
///         of a layer with another number of channels
template <class T, int Channels>
Gradients<T, Channels> backward(const BatchNorm<T, Channels>& layer,
                                const ForwardPass<T, Channels>& pass,
                                const detail::FromLayer<Input<T>>& in,
                                const detail::FromLayer<Input<T>>& out_gradient,
                                const detail::FromLayer<GradientOutput<T>>& in_gradient,
                                const Execution& execution = {}) {
  if (pass.statistics == NormalizeWith::minibatch) {
    return layer.backward(pass.batch, in, out_gradient, in_gradient, execution);
  }
  if (pass.running_mean.size() != layer.channels()) {
    detail::fail_argument("backward", "the pass must be of this layer",
                          detail::text(layer.channels(), " channels"),
                          detail::text(pass.running_mean.size()));
  }
  BatchNorm<T, Channels> then = layer;
  then.state().running_mean = pass.running_mean;
  then.state().running_variance = pass.running_variance;
  return then.backward_frozen(in, out_gradient, in_gradient, execution);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_FREEZING_HPP
