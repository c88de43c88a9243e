// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_CERTIFICATE_HPP
#define BATCHNORM_FOLD_CERTIFICATE_HPP

#include <cmath>
#include <cstdint>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a convolution behind a batch norm finds beyond the border of its input. There is no
/// default: a file of weights does not say it, and a fold that guesses is wrong at the border.
enum class Padding {
  unstated,   ///< not said: good for linear layers only
  none,       ///< the kernel stays inside ("valid", padding=0)
  zeros,      ///< zeros around the output of the norm, which no constant bias can stand for
  from_input  ///< values of the input again: reflect, replicate, circular
};

/// How to fold.
struct FoldOptions {
  /// fold_before needs it for convolutions; fold_after is exact with any padding.
  Padding padding = Padding::unstated;
  /// Store 0 for folded weights and biases below the smallest normal number. Processors take up to
  /// a hundred times as long for a product with one of those.
  bool flush_subnormal = false;
  /// Random inputs on which the folded layer is compared with the unfolded one; 0 for none.
  int probes = 4;
  /// Magnitude, in the unit of the layer's inputs, that FoldCertificate::bound_within_ulps is
  /// about; 0 or larger.
  double largest_input = 1048576.0;
  /// Any number: the seed of the probes. The same one gives the same inputs everywhere.
  std::uint64_t seed = 1;
};

/// What a fold did to the numbers, and what that does to the output.
///
/// Unit of the two changes: for output channel o and inputs x with |x| <= X in every element,
///
///     ulp_o(X) = 2^(1 - digits) (X sum |w s| + B_o)
///
/// where digits counts the significant bits of the weights' type, the sum runs over the weights
/// that make up the channel, each times its gain s, and B_o is the sum of the magnitudes of all
/// other terms of the unfolded channel: |b s| + |mean s| + |beta|, and those that a norm in front
/// sends through the weights. That is a unit in the last place of the largest output that such
/// inputs could give if nothing cancelled, and the unit of the rounding errors of the unfolded
/// layer itself; no bound in units of a single output exists, because outputs may cancel to 0.
///
/// Thread safety: a plain value. Source: fold/plan.hpp has the derivation.
struct FoldCertificate {
  /// Largest |gamma / sqrt(variance + epsilon)| (of a chain: of the product).
  double largest_gain = 0.0;
  Index largest_gain_channel = 0;  ///< the index of its channel

  /// Channels of the norm whose gamma (of a chain: product of gammas) is zero: what reaches them
  /// is lost, and after folding shows as weights of zero.
  std::vector<Index> zero_gamma;
  /// Those where it is negative: order is reversed, so that a maximum does not pass.
  std::vector<Index> negative_gamma;

  /// How many folded weights are not zero but below the smallest normal number of their type. With
  /// FoldOptions::flush_subnormal they have been stored as 0.
  Index subnormal_weights = 0;
  Index subnormal_biases = 0;  ///< the same number for biases
  /// Folded weights too small for any number of their type, which have become 0.
  Index vanished_weights = 0;

  /// Bound on the change of any output, in the unit above, for all inputs and in exact arithmetic:
  /// what folding, rounding and flushing the parameters changes. Up to 0.5 and a little is what
  /// rounding once costs; for double it is a few units, and behind a norm up to half the number
  /// of weights of a channel, because the computation is no finer than the result there. Computed
  /// from the numbers themselves (derivation in fold/plan.hpp), not measured.
  double bound_ulps = 0.0;

  /// The same for inputs of a magnitude of at most largest_input. It is the one to look at: where
  /// all weights of a channel are too small for their type, all of them may be lost, which is 2^23
  /// units for float, and still matter to no input that occurs beside the channel's bias.
  double bound_within_ulps = 0.0;
  double largest_input = 0.0;  ///< FoldOptions::largest_input, in the unit of the inputs

  /// The largest change seen on the probes, in the same unit: the unfolded layer with its norm and
  /// the folded one on the same inputs, uniform in [-1, 1), in long double.
  double measured_ulps = 0.0;
  /// How far, in the same unit, the roundings of that long double arithmetic may move
  /// measured_ulps.
  double evaluation_ulps = 0.0;
  int probes = 0;  ///< number of inputs that were tried

  /// Whether the probes saw what the bound allows.
  bool probes_agree() const { return measured_ulps <= bound_ulps + evaluation_ulps; }
};

namespace detail {

/// The part of a certificate that speaks of the norm alone.
inline FoldCertificate certify_gains(const InferenceMap& norm) {
  FoldCertificate certificate;
  for (Index channel = 0; channel < norm.channels(); ++channel) {
    const double gain = norm.scale()[channel];
    if (std::fabs(gain) > certificate.largest_gain) {
      certificate.largest_gain = std::fabs(gain);
      certificate.largest_gain_channel = channel;
    }
    if (gain < 0.0) {
      certificate.negative_gamma.push_back(channel);
    } else if (!(gain > 0.0)) {
      certificate.zero_gamma.push_back(channel);
    }
  }
  return certificate;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_CERTIFICATE_HPP
