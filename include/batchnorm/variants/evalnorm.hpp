// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_EVALNORM_HPP
#define BATCHNORM_VARIANTS_EVALNORM_HPP

#include <Eigen/Core>
#include <algorithm>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/variants/checked_statistics.hpp"
#include "batchnorm/variants/substitute.hpp"
#include "batchnorm/variants/weigh_examples.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// EvalNorm (Singh and Shrivastava 2019, arXiv:1904.06031) learns how much an example's own moments
// (m_i, v_i) count beside the running ones (m, v), two shares per layer, while the network is
// trained as ever. A minibatch that the example is part of has the moments (m_B, v_B): what it was
// normalised with then is what it should be normalised with alone. The shares a and b make
//
//     mean of (m + a (m_i - m) - m_B)^2 / s / 2     mean of (v + b (v_i - v) - v_B)^2 / s^2 / 2
//
// small, over the examples i of a minibatch and the channels. s = v + epsilon puts all channels on
// one scale, so that rates have no unit. Both are parabolas, with the derivatives
//
//     mean of (m_i - m) (m + a (m_i - m) - m_B) / s     and likewise by b
//
// Everything but the shares is a constant here: nothing goes back to x, or to the layer.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How far EvalNorm's statistics of single examples are from those of their minibatch: squared
/// differences over two, means over examples and channels, in units of the running deviation.
/// Thread safety: a plain value. Source: variants/evalnorm.hpp.
struct EvalNormLoss {
  double of_mean = 0;               ///< of the means, in squared deviations
  double of_variance = 0;           ///< of the variances, in squared variances
  double by_share_of_mean = 0;      ///< the derivative of of_mean, in the same unit
  double by_share_of_variance = 0;  ///< the derivative of of_variance, in the same unit
};

namespace detail {

/// The sums over channels that a loss is made of, for one example after the other.
template <class A>
struct EvalNormTerms {
  A loss = A(0);
  A derivative = A(0);

  /// @param own     what the example has beyond the running statistic
  /// @param wanted  what the minibatch has beyond it
  void add(const A& share, const A& own, const A& wanted, const A& unit) {
    const A miss = share * own - wanted;
    loss += miss * miss / (A(2) * unit);
    derivative += own * miss / unit;
  }
};

template <class T, int Channels>
void check_evalnorm(const char* function, const BatchNorm<T, Channels>& layer,
                    const MomentsOf<T, Channels>& batch, const Input<T>& in) {
  check_state_shape(function, layer.state());
  check_channels(function, in.view(), layer.channels());
  refuse_mask(function, in, no_mask_of_example);
  refuse_residual(function, in);
  running_statistics_of(function, layer);
  check_batch(function, batch, layer.channels(), in.view().values_per_channel());
  if (batch.count == 0) {
    fail_argument(function, "shares are learned from examples", "a minibatch", "an empty one");
  }
  check_finite<parameter_t<T>>(function, Options{}, batch);
}

}  // namespace detail

/// EvalNorm's loss for a minibatch and given shares.
///
/// @param layer     its running statistics are the ones that examples share with
/// @param weighing  ExampleWeighing::evalnorm
/// @param batch     what train or normalize returned for `in`
/// @param in        samples x channels x positions; the moments of an example are over its
///                  positions
/// @param execution  who does the work
/// @return the loss, and its derivatives by both shares; NaN where an example has NaN
/// Shapes: `in` as for train of the layer. Units: those of EvalNormLoss. Cost: one read of `in`;
/// per example a call of the loop, which allocates numbers per channel. Thread safety: only reads
/// its arguments.
/// @throws std::invalid_argument for a weighing of second moments, a mask, weights, a residual, an
///         empty minibatch, or moments of another number of values than `in`; std::domain_error for
///         statistics that are not finite, and as BatchNorm::infer for the running ones
/// Source: Singh and Shrivastava 2019 (arXiv:1904.06031); variants/evalnorm.hpp says what is
/// summed.
template <class T, int Channels>
[[nodiscard]] EvalNormLoss evalnorm_loss(const BatchNorm<T, Channels>& layer,
                                         const ExampleWeighing& weighing,
                                         const detail::MomentsOf<T, Channels>& batch,
                                         const Input<detail::Exactly<T>>& in,
                                         const Execution& execution = {}) {
  constexpr const char* function = "evalnorm_loss";
  using A = accumulator_t<T>;
  if (weighing.mixes_second_moments()) {
    detail::fail_argument(function, "EvalNorm mixes variances by themselves",
                          "ExampleWeighing::evalnorm", "ExampleWeighing::second_moments");
  }
  detail::check_evalnorm(function, layer, batch, in);
  const detail::Substitute<T> running(layer.options(), layer.state(),
                                      detail::statistics_of(layer.state()));
  detail::EvalNormTerms<A> means, variances;
  const Index samples = in.view().samples();
  for (Index n = 0; n < samples; ++n) {
    const auto own = detail::moments_of_view<Eigen::Dynamic, T>(detail::samples_of(in.view(), n, 1),
                                                                nullptr, execution);
    for (Index c = 0; c < layer.channels(); ++c) {
      const A mean = running.mean[c], variance = running.variance[c];
      const A unit = variance + A(layer.options().epsilon);
      means.add(A(weighing.share_of_mean()), own.mean[c] - mean, batch.mean[c] - mean, unit);
      variances.add(A(weighing.share_of_variance()),
                    own.sum_of_squares[c] / own.divisor(0) - variance,
                    batch.sum_of_squares[c] / batch.divisor(0) - variance, unit * unit);
    }
  }
  const A count = detail::from_index<A>(samples * layer.channels());
  return {static_cast<double>(A(means.loss / count)),
          static_cast<double>(A(variances.loss / count)),
          static_cast<double>(A(means.derivative / count)),
          static_cast<double>(A(variances.derivative / count))};
}

/// The two shares of EvalNorm for one layer, learned by gradient descent while the network is
/// trained, or afterwards on training data. It changes nothing about training:
///
///     EvalNormShares shares;
///     ...
///     const auto batch = layer.train(x, y);
///     shares.learn(layer, batch, x, 0.5);
///     ...
///     infer_weighing_examples(layer, shares.weighing(), one, out);
///
/// The share of the mean tends to about 1 over the number of examples of a minibatch. What is to be
/// stored are two numbers: share_of_mean() and share_of_variance(), of which a new object can be
/// made. Units: shares are from 0 to 1.
/// Thread safety: learn() by one thread at a time, the rest from any.
/// Source: Singh and Shrivastava 2019 (arXiv:1904.06031); variants/evalnorm.hpp says what is
/// minimised.
class EvalNormShares {
 public:
  /// Starts with shares of the example's mean and variance; 0 is inference as it is.
  /// @throws std::invalid_argument unless both are from 0 to 1
  explicit EvalNormShares(double share_of_mean = 0, double share_of_variance = 0)
      : weighing_(ExampleWeighing::evalnorm(share_of_mean, share_of_variance)) {}

  /// What infer_weighing_examples takes.
  const ExampleWeighing& weighing() const { return weighing_; }
  /// The share of the example's mean.
  double share_of_mean() const { return weighing_.share_of_mean(); }
  /// The share of its variance.
  double share_of_variance() const { return weighing_.share_of_variance(); }

  /// One step, share -= rate * derivative of the loss, but not below 0 or above 1.
  ///
  /// @param layer, batch, in, execution  as for evalnorm_loss. A layer whose statistics have
  ///              followed `batch` already gives nearly the same, as they follow it slowly
  /// @param rate  what derivatives are multiplied by; above 2 over their slope, the mean of the
  ///              squared distance of an example's moments in the loss's units, shares swing
  /// @return the loss before the step
  /// Shapes: as evalnorm_loss. Cost: as evalnorm_loss.
  /// @throws std::invalid_argument for a rate that is not above 0 and finite, and as evalnorm_loss;
  ///         std::domain_error for examples whose loss is not finite. The shares are as before then
  template <class T, int Channels>
  EvalNormLoss learn(const BatchNorm<T, Channels>& layer,
                     const detail::MomentsOf<T, Channels>& batch,
                     const Input<detail::Exactly<T>>& in, double rate,
                     const Execution& execution = {}) {
    constexpr const char* function = "EvalNormShares::learn";
    if (!detail::is_finite(rate) || rate <= 0) {
      detail::fail_argument(function, "shares follow their derivatives at a rate",
                            "a finite number above 0", detail::text(rate));
    }
    const EvalNormLoss loss = evalnorm_loss(layer, weighing_, batch, in, execution);
    if (!detail::is_finite(loss.by_share_of_mean) ||
        !detail::is_finite(loss.by_share_of_variance)) {
      detail::fail_domain(function, "the moments of examples must be finite", "a finite loss",
                          "NaN, infinity or overflow");
    }
    weighing_ = ExampleWeighing::evalnorm(
        moved(weighing_.share_of_mean(), rate * loss.by_share_of_mean),
        moved(weighing_.share_of_variance(), rate * loss.by_share_of_variance));
    return loss;
  }

 private:
  static double moved(double share, double step) {
    return (std::min)(1.0, (std::max)(0.0, share - step));
  }

  ExampleWeighing weighing_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_EVALNORM_HPP
