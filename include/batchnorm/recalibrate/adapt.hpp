// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_ADAPT_HPP
#define BATCHNORM_RECALIBRATE_ADAPT_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/adaptation.hpp"
#include "batchnorm/recalibrate/effective_values.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Test-time adaptation: an inference path whose statistics are those of the training (the source)
// mixed with those of test data (the target). It is asked for by name and makes a new object;
// nothing else in the library ever looks at the statistics of what it infers.
//
//     const auto adapted = adapt(layer, moments_of(x), Adaptation::prior(16));
//     adapted(x, y);
//
// In a network of several norms the order matters: what enters a layer depends on how the layers in
// front of it were adapted, so adapt them from the first to the last, each with the moments of what
// the adapted ones give. A stream: recalibrate/adaptive.hpp. Which rule, and when not to adapt at
// all: recalibrate/adaptation.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Refuses a source or a target that cannot be mixed. A target of nothing needs no channels.
template <class T, int Channels, int Other>
void check_adaptation(const char* function, const State<T, Channels>& source,
                      const Moments<accumulator_t<T>, Other>& target) {
  check_state(function, source, NonFinite::reject);
  if (target.count == 0 && target.channels() == 0) return;
  check_moments(function, target, source.channels());
  check_sound_moments(function, target);
}

/// Refuses to normalise with nothing but the statistics of one value: it has no variance.
inline void check_target_alone(const char* function, Index count, const Adaptation& how,
                               double share) {
  const bool alone = how.rule() != Adaptation::Rule::automatic && !(share < 1.0);
  if (count != 1 || !alone) return;
  fail_domain(function, "test data that are to replace the source",
              "at least 2 values per channel, or Adaptation::prior(N), which is safe with one",
              "1, which has no variance");
}

template <class T, int Channels, int Other>
Eigen::VectorXd shares_of(const char* function, const State<T, Channels>& source,
                          const Moments<accumulator_t<T>, Other>& target, const Adaptation& how) {
  check_adaptation(function, source, target);
  Eigen::VectorXd shares = Eigen::VectorXd::Zero(source.channels());
  if (target.count == 0) return shares;
  const double n = values_of_equal_weight(target) / how.values_alike();
  if (how.rule() != Adaptation::Rule::automatic) {
    shares.setConstant(common_share(how, n));
    check_target_alone(function, target.count, how, shares[0]);
    return shares;
  }
  for (Index channel = 0; channel < source.channels(); ++channel) {
    const auto variance = target.sum_of_squares[channel] / target.divisor(0);
    shares[channel] = automatic_share(
        static_cast<double>(target.mean[channel] - source.running_mean[channel]),
        static_cast<double>(source.running_variance[channel]), static_cast<double>(variance), n);
  }
  return shares;
}

}  // namespace detail

/// The share a of the target in the statistics of every channel: 0 plain inference, 1 the target
/// alone. In values that the source counts as, it is N = n (1 - a) / a. `how` is the rule.
/// Shapes: the target has the channels of the source, and so has the result. Cost: a few operations
/// per channel.
/// @throws as adapted
template <class T, int Channels, int Other>
Eigen::VectorXd target_shares(const State<T, Channels>& source,
                              const Moments<accumulator_t<T>, Other>& target,
                              const Adaptation& how) {
  return detail::shares_of("target_shares", source, target, how);
}

/// The state of a layer with statistics that were mixed with those of test data: to be frozen,
/// folded or saved. gamma, beta, counters and staleness are those of the source, which stays as it
/// is. The variance of the target is the population variance, as everywhere a minibatch normalises;
/// a target of no values changes nothing, to the bit.
///
/// @param target  the moments of what enters the layer, of one value per channel or more
/// @param how     the rule
/// Shapes: the target has the channels of the source.
/// @throws std::invalid_argument for another number of channels, or parts that do not belong
///         together
/// @throws std::domain_error for statistics that are not finite, a negative variance, and a target
///         of one value per channel without a source
/// Cost: a few operations per channel. Source: Adaptation names the papers.
template <class T, int Channels, int Other>
State<T, Channels> adapted(const State<T, Channels>& source,
                           const Moments<accumulator_t<T>, Other>& target, const Adaptation& how) {
  using A = accumulator_t<T>;
  const Eigen::VectorXd shares = detail::shares_of("adapted", source, target, how);
  State<T, Channels> state = source;
  if (target.count == 0) return state;
  for (Index channel = 0; channel < source.channels(); ++channel) {
    const A variance = target.sum_of_squares[channel] / target.divisor(0);
    detail::mix_statistics<A>(state.running_mean[channel], state.running_variance[channel],
                              target.mean[channel], variance, shares[channel], how.is_exact());
  }
  return state;
}

/// The inference path of a layer, adapted to the target, test data, as `how` says: `adapted`,
/// frozen. With Adaptation::source(), or moments of nothing, the bits of layer.freeze(). Shapes: as
/// adapted. Cost: as adapted and freeze.
/// @throws what adapted throws, and what BatchNorm::freeze does
template <class T, int Channels, int Other>
FrozenBatchNorm<T, Channels> adapt(const BatchNorm<T, Channels>& layer,
                                   const Moments<accumulator_t<T>, Other>& target,
                                   const Adaptation& how) {
  detail::check_has_statistics("adapt", layer.state(), layer.has_statistics());
  return FrozenBatchNorm<T, Channels>(adapted(layer.state(), target, how), layer.options());
}

/// The same for a state from elsewhere, say a checkpoint, and the options it was trained with. A
/// FrozenBatchNorm itself cannot be adapted: it has made one factor of gamma and the variance.
template <class T, int Channels, int Other>
FrozenBatchNorm<T, Channels> adapt(const State<T, Channels>& source, const Options& options,
                                   const Moments<accumulator_t<T>, Other>& target,
                                   const Adaptation& how) {
  return FrozenBatchNorm<T, Channels>(adapted(source, target, how), options);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_ADAPT_HPP
