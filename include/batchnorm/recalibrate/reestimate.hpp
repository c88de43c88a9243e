// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_REESTIMATE_HPP
#define BATCHNORM_RECALIBRATE_REESTIMATE_HPP

#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/recalibrate/layer_handle.hpp"
#include "batchnorm/recalibrate/minibatches.hpp"
#include "batchnorm/recalibrate/reestimation.hpp"
#include "batchnorm/recalibrate/reestimation_report.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Takes the statistics of all layers of a network anew, from a whole training set and with the
/// weights as they are: after the weights were averaged, rounded or pruned, or where running
/// averages are not trusted.
///
///     const auto report = reestimate<float>({&net.norm1, &net.norm2}, {x.cols(), 64},
///         [&](Index first, Index count, auto& pass) {
///           const auto some = x.middleCols(first, count);
///           const Eigen::MatrixXf h = relu(pass(net.norm1, net.weight1 * some));
///           pass.see(net.norm2, net.weight2 * h);
///         });
///     std::cout << report.text();
///
/// `pass(layer, in)` stands for the layer while the statistics are taken: it notes those of `in`
/// and returns the output. By default the layers in front of a layer normalise with their
/// minibatches, as in training; ReestimationOrder::layer_after_layer has them normalise with their
/// new statistics, as at test time, and measures the difference.
///
/// @param layers    addresses of the layers; for layer_after_layer in the order of their first use
/// @param data      how many examples there are, and how many fit into a minibatch
/// @param forward   runs the network on examples first ... first + count - 1
/// @param options   estimator, order of the layers, and who does the work
/// @param progress  called after each minibatch with a ReestimationProgress; returns nothing, or
///                  Proceed::no to stop
/// @return what the running averages were off by, per layer and channel; `completed` is false when
///         it was stopped
/// @throws what Reestimation throws, and whatever `forward` throws. All layers are changed together
///         at the end; after an exception or a stop none is.
/// Shapes: those of the network. Cost: one forward pass over the data, or one per layer. Source:
/// Ioffe and Szegedy 2015, section 3.1; both orders: Reestimation.
template <class T, class Forward, class Callback>
ReestimationReport reestimate(std::vector<LayerHandle<T>> layers, const Minibatches& data,
                              Forward&& forward, const ReestimationOptions& options,
                              Callback&& progress) {
  Reestimation<T> run(std::move(layers), options);
  while (!run.is_settled()) {
    if (!run.collect(data, forward, progress)) return ReestimationReport();
    run.settle();
  }
  return run.commit();
}
/// The same without progress.
template <class T, class Forward>
ReestimationReport reestimate(std::vector<LayerHandle<T>> layers, const Minibatches& data,
                              Forward&& forward, const ReestimationOptions& options = {}) {
  return reestimate<T>(std::move(layers), data, forward, options,
                       [](const ReestimationProgress&) {});
}

/// The same for one layer, from its inputs.
///
///     reestimate(layer, {x.cols(), 64},
///                [&](Index first, Index count) { return x.middleCols(first, count); });
///
/// @param inputs  gives the inputs of examples first ... first + count - 1: a view, a matrix or an
///                expression, of one sample for each example, or of several where positions were
///                flattened into columns. That makes any multiple of `count` a right number of
///                samples: more examples than were asked for cannot be told from it, and are taken.
///
/// The options and the progress are those of the other form. Shapes: inputs are as for train. Cost:
/// one read of the inputs.
/// @throws what the other form does, and std::invalid_argument for inputs whose number of samples
///         is not a multiple of that of the examples
template <class T, int Channels, class Inputs, class Callback>
ReestimationReport reestimate(BatchNorm<T, Channels>& layer, const Minibatches& data,
                              Inputs&& inputs, const ReestimationOptions& options,
                              Callback&& progress) {
  const auto forward = [&](Index first, Index count, ReestimationPass<T>& pass) {
    const auto& in = inputs(first, count);
    const Input<T> input(in);
    const Index samples = input.view().samples();
    if (samples < 1 || samples % count != 0) {
      detail::fail_argument("reestimate", "samples of the inputs of some examples",
                            detail::text(count, ", one of each, or a multiple"),
                            detail::text(samples));
    }
    pass.see(layer, input);
  };
  return reestimate<T>({&layer}, data, forward, options, progress);
}
/// The same without progress.
template <class T, int Channels, class Inputs>
ReestimationReport reestimate(BatchNorm<T, Channels>& layer, const Minibatches& data,
                              Inputs&& inputs, const ReestimationOptions& options = {}) {
  return reestimate(layer, data, inputs, options, [](const ReestimationProgress&) {});
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_REESTIMATE_HPP
