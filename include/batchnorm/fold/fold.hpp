// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_FOLD_HPP
#define BATCHNORM_FOLD_FOLD_HPP

#include <Eigen/Core>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/bias.hpp"
#include "batchnorm/fold/certificate.hpp"
#include "batchnorm/fold/geometry.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "batchnorm/fold/plan.hpp"
#include "batchnorm/fold/probe.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/eigen.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What fold_before_padded gives back: the bias that takes the place of the layer's own.
/// @tparam B  scalar of the layer's bias
template <class B>
struct PaddedFold {
  /// output channels x places of the output; a row is one plane, its last axis fastest (row-major,
  /// so that data() is C x H x W). Added to the folded layer's output it is exact everywhere.
  Eigen::Matrix<B, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> bias;
  /// Sizes of the output along the axes.
  std::vector<Index> output_sizes;
  FoldCertificate certificate;  ///< what the fold does to the output
};

namespace detail {

inline void check_norm_channels(const char* function, const char* side, Index expected,
                                const InferenceMap& norm) {
  if (norm.channels() == expected) return;
  fail_argument(function, text("channels of the norm must be the layer's ", side, " channels"),
                text(expected), text(norm.channels()));
}

/// A norm in front of a flatten has fewer channels than the layer has inputs.
template <class T>
void check_channels_in_front(const char* function, const WeightView<T>& weights,
                             const InferenceMap& norm) {
  const Index inputs = weights.in_channels();
  if (weights.kind() == LayerKind::linear && norm.channels() > 0 && norm.channels() < inputs &&
      inputs % norm.channels() == 0) {
    fail_argument(function, "channels of the norm must be the layer's input channels",
                  text(inputs,
                       ", or flattened_channels_first or flattened_channels_last of the "
                       "layer when a flatten stands between them"),
                  text(norm.channels()));
  }
  check_norm_channels(function, "input", inputs, norm);
}

inline void check_fold_options(const char* function, const FoldOptions& options) {
  if (options.probes < 0) {
    fail_argument(function, "number of probes", "zero or more", text(options.probes));
  }
  if (!(options.largest_input >= 0.0) || !is_finite(options.largest_input)) {
    fail_argument(function, "largest_input", "a finite number, zero or more",
                  text(options.largest_input));
  }
}

/// Computes the fold, certifies it, and only then writes: `keep_bias` takes the biases, before the
/// weights, because it may run out of memory.
template <class B, class T, class KeepBias>
FoldCertificate fold(const FoldPlan<T>& plan, const TapReach& reach, const InferenceMap& norm,
                     const FoldOptions& options, const KeepBias& keep_bias) {
  const FoldedBias<B> bias = plan.template folded_bias<B>(reach);
  FoldCertificate certificate = certify_gains(norm);
  plan.certify(bias, certificate);
  FoldProbe<T, B>(plan, bias.map, reach).run(options.probes, options.seed, certificate);
  keep_bias(bias.map);
  plan.weights().each(
      [&](T& weight, Index out, Index in, Index) { weight = plan.folded(weight, out, in); });
  return certificate;
}

/// A fold whose bias is the same everywhere and is written over the layer's own.
/// @param norm  the one of `before` and `after` that is not the identity
template <class T, class Bias>
FoldCertificate fold_in_place(const char* function, const WeightView<T>& weights, Bias& bias,
                              const InferenceMap& before, const InferenceMap& after,
                              const InferenceMap& norm, const FoldOptions& options) {
  using Argument = BiasArgument<Bias>;
  Argument::check_writable(function, bias);
  Argument::check_disjoint(function, bias, weights);
  check_fold_options(function, options);
  const Eigen::VectorXd own = Argument::read(function, bias, weights.out_channels());
  return fold<typename Argument::Scalar>(
      FoldPlan<T>(function, weights, own, before, after, options), TapReach(weights.taps()), norm,
      options, [&](const auto& values) { Argument::write(bias, values); });
}

/// Refuses a layer behind a norm that no constant bias can make up for.
inline void check_can_follow(const char* function, LayerKind kind, Padding padding) {
  constexpr const char* rule = "the layer behind the norm needs one bias for all places";
  if (kind == LayerKind::transposed_convolution) {
    fail_argument(function, rule, "a linear layer or a convolution",
                  "a transposed convolution, whose places are reached by different taps; "
                  "fold_before_padded gives the bias of every place");
  }
  if (kind == LayerKind::linear) return;
  if (padding == Padding::zeros) {
    fail_argument(function, rule, "a convolution without padding, or padded from_input",
                  "padding with zeros, which are not what the norm makes of zeros, so that the "
                  "border needs other biases; fold_before_padded gives the bias of every place");
  }
  if (padding == Padding::unstated) {
    fail_argument(function, "FoldOptions::padding of a convolution behind the norm",
                  "none, zeros or from_input", "unstated");
  }
}

}  // namespace detail

/// Folds a batch norm into the linear or convolutional layer **before** it: afterwards the layer
/// alone gives what layer and norm gave.
///
///     w'[o,...] = w[o,...] s[o]        b'[o] = (b[o] - mean[o]) s[o] + beta[o]
///     s = gamma / sqrt(variance + epsilon)
///
/// Exact with any padding, stride, dilation and groups, for transposed convolutions too. An
/// activation behind the norm stays, behind the folded layer. For several norms in a row, pass
/// InferenceMap(...).then(...): they are folded with one rounding.
///
/// Computed in double and rounded once to the type of weights and bias. All or nothing: when it
/// throws, nothing has been changed.
///
/// @param weights  where they lie: linear(matrix), convolution_oihw(...), convolution_hwio(...),
///                 depthwise_hwim(...), transposed_iohw(...), transposed_hwoi(...)
/// @param bias     one number per output channel, changed in place: a vector of Eigen's or a
///                 std::vector; an empty one is a layer without bias, and comes out with one
/// @param norm     as many channels as the layer has output channels; a BatchNorm or
///                 FrozenBatchNorm is one, too
/// @return what the fold does to the output: FoldCertificate
/// @throws std::invalid_argument for wrong sizes, and a bias that shares memory with the weights
/// @throws std::domain_error when a weight or bias is not finite, or becomes so in its type, and
///         what InferenceMap throws of a layer, such as one that has never trained
///
/// Cost: 2 + probes passes over the weights, in the order output channel, input channel, tap;
/// allocates one double per output channel and tap, and one per input channel and tap. Shapes: as
/// said of the arguments. Thread safety: for different layers. Source: Ioffe and Szegedy 2015,
/// algorithm 2, lines 10 and 11; fold/plan.hpp derives the bound.
template <class T, class Bias>
FoldCertificate fold_after(const WeightView<T>& weights, Bias&& bias, const InferenceMap& norm,
                           const FoldOptions& options = {}) {
  detail::check_bias_outlives<Bias>();
  constexpr const char* function = "fold_after";
  detail::check_norm_channels(function, "output", weights.out_channels(), norm);
  return detail::fold_in_place(function, weights, bias,
                               InferenceMap::identity(weights.in_channels()), norm, norm, options);
}

/// The same for one norm, from its state and norm_options, the options it was trained with.
/// @throws also what InferenceMap throws
template <class T, class Bias, class S, int Channels>
FoldCertificate fold_after(const WeightView<T>& weights, Bias&& bias,
                           const State<S, Channels>& state, const Options& norm_options,
                           const FoldOptions& options = {}) {
  return fold_after(weights, std::forward<Bias>(bias),
                    InferenceMap("fold_after", state, norm_options), options);
}

/// Folds a batch norm into the linear or convolutional layer **behind** it.
///
///     w'[o,i,k] = w[o,i,k] s[i]        b'[o] = b[o] + sum_ik w[o,i,k] (beta[i] - mean[i] s[i])
///
/// Exact for linear layers, and for convolutions that do not pad (Padding::none) or pad with
/// values of their input (Padding::from_input); FoldOptions::padding must say which. Where a
/// flatten stands between norm and linear layer, flattened_channels_first or
/// flattened_channels_last says which inputs belong to a channel. Refused, because no bias that is
/// the same everywhere would be right: behind the norm a convolution padded with zeros and a
/// transposed convolution. fold_before_padded folds those. Nothing may stand between norm and
/// layer.
///
/// @param norm  as many channels as the layer has input channels, of all groups
///
/// All else, weights and bias among it, as for fold_after. Shapes: as there. Cost: as there.
/// Source: as there.
/// @throws as fold_after, and std::invalid_argument for a layer or a padding that is refused
template <class T, class Bias>
FoldCertificate fold_before(const WeightView<T>& weights, Bias&& bias, const InferenceMap& norm,
                            const FoldOptions& options = {}) {
  detail::check_bias_outlives<Bias>();
  constexpr const char* function = "fold_before";
  detail::check_foldable(function, norm.options());
  detail::check_can_follow(function, weights.kind(), options.padding);
  detail::check_channels_in_front(function, weights, norm);
  return detail::fold_in_place(function, weights, bias, norm,
                               InferenceMap::identity(weights.out_channels()), norm, options);
}

/// The same for one norm, from its state and norm_options, the options it was trained with.
/// @throws also what InferenceMap throws
template <class T, class Bias, class S, int Channels>
FoldCertificate fold_before(const WeightView<T>& weights, Bias&& bias,
                            const State<S, Channels>& state, const Options& norm_options,
                            const FoldOptions& options = {}) {
  return fold_before(weights, std::forward<Bias>(bias),
                     InferenceMap("fold_before", state, norm_options), options);
}

/// Folds a batch norm into the convolution **behind** it that pads with zeros, or into the
/// transposed convolution behind it, exactly: with a bias for every place of the output.
///
///     w'[o,i,k] = w[o,i,k] s[i]
///     b'[o,p]   = b[o] + sum_ik w[o,i,k] (beta[i] - mean[i] s[i])    over the taps k that see
///                                                                    the input at place p
///
/// The weights are changed in place. The layer's own bias is read and left alone: the result takes
/// its place. It is good for inputs of the given sizes only.
///
/// @param axes  one for every spatial axis, in the order of the kernel's axes, the last of which
///              counts fastest among the taps; any number of axes
///
/// Shapes: as fold_after; the result is output channels x places. Cost: as fold_after, and output
/// channels x places x taps additions. All else as for fold_before; FoldOptions::padding is not
/// asked. Source: as fold_after.
/// @throws as fold_after, and std::invalid_argument for axes that do not fit the taps
template <class T, class Bias>
PaddedFold<typename detail::BiasArgument<const Bias>::Scalar> fold_before_padded(
    const WeightView<T>& weights, const Bias& bias, const InferenceMap& norm,
    const std::vector<ConvolutionAxis>& axes, const FoldOptions& options = {}) {
  using Argument = detail::BiasArgument<const Bias>;
  using B = typename Argument::Scalar;
  constexpr const char* function = "fold_before_padded";
  detail::check_foldable(function, norm.options());
  if (weights.kind() == LayerKind::linear) {
    detail::fail_argument(function, "layer behind the norm",
                          "a convolution or a transposed convolution",
                          "a linear layer, which has no border; use fold_before");
  }
  detail::check_norm_channels(function, "input", weights.in_channels(), norm);
  detail::check_fold_options(function, options);
  const detail::TapReach reach(function, weights.kind(), axes);
  if (reach.taps() != weights.taps()) {
    detail::fail_argument(function, "taps of all axes must be those of the weights",
                          detail::text(weights.taps()), detail::text(reach.taps()));
  }
  const Eigen::VectorXd own = Argument::read(function, bias, weights.out_channels());
  Argument::check_disjoint(function, bias, weights);
  const InferenceMap after = InferenceMap::identity(weights.out_channels());
  PaddedFold<B> result{{}, reach.outputs(), {}};
  result.certificate =
      detail::fold<B>(detail::FoldPlan<T>(function, weights, own, norm, after, options), reach,
                      norm, options, [&](const auto& values) { result.bias = values; });
  return result;
}

/// The same for one norm, from its state and norm_options, the options it was trained with.
/// @throws also what InferenceMap throws
template <class T, class Bias, class S, int Channels>
auto fold_before_padded(const WeightView<T>& weights, const Bias& bias,
                        const State<S, Channels>& state, const Options& norm_options,
                        const std::vector<ConvolutionAxis>& axes, const FoldOptions& options = {}) {
  return fold_before_padded(weights, bias, InferenceMap("fold_before_padded", state, norm_options),
                            axes, options);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_FOLD_HPP
