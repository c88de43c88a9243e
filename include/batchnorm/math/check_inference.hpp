// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_INFERENCE_HPP
#define BATCHNORM_MATH_CHECK_INFERENCE_HPP

#include <cmath>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// What gamma, beta and the running statistics must be like before inputs are normalised with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline void check_number(const char* function, const char* name, Index channel, bool finite) {
  if (finite) return;
  fail_domain(function, text(name, " of channel ", channel), "a finite number",
              "NaN, infinity or overflow");
}

/// Refuses parameters that are not finite, and maps with a number that is not finite in the type
/// computed in: what a diverged training leaves behind. Under NonFinite::propagate it is what the
/// caller asked to see.
template <class T, int Channels>
void check_inference(const char* function, const Options& options,
                     const State<T, Channels>& state) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using std::abs;
  if (options.non_finite == NonFinite::propagate) return;
  // A mean, gamma and beta of 1e15 and a root of 1e-15 leave float room: scale is at most 1e30, and
  // the rounding of the mean times it 1e38.
  const bool rooted = options.epsilon >= 1e-30;
  const A most(1e15);
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const A& mean = state.running_mean[channel];
    const A gamma = gamma_of(options, state, channel);
    const A beta = beta_of(options, state, channel);
    const A sum = abs(mean) + abs(gamma) + abs(beta);
    if (rooted && is_finite(sum) && sum <= most) continue;
    A inverse;
    inverse_std_dev<A, 1>(inverse, state.running_variance[channel], options.epsilon);
    const A scale = gamma * inverse;
    const A shift = beta - (mean - convert<A>(convert<C>(mean))) * scale;
    check_number(function, "gamma", channel, is_finite(gamma));
    check_number(function, "beta", channel, is_finite(beta));
    check_number(function, "gamma / sqrt(variance + epsilon)", channel, is_finite_as<C>(scale));
    check_number(function, "beta", channel, is_finite_as<C>(shift));
  }
}

/// The running statistics, once they have turned out to be usable.
///
/// @param given  the state was given to the layer
template <class T, int Channels>
StatisticsView<accumulator_t<T>> usable_running_statistics(const char* function,
                                                           const Options& options,
                                                           const State<T, Channels>& state,
                                                           bool given) {
  check_has_statistics(function, state, given);
  check_statistics(function, state, options.non_finite);
  const auto use = statistics_of(state);
  check_deviation<parameter_t<T>>(function, options.epsilon, state.channels(), use);
  check_inference(function, options, state);
  return use;
}

/// What a minibatch is normalised with: its own statistics, or those of the layer where it has one
/// value per channel.
template <class T, int Channels>
StatisticsView<accumulator_t<T>> usable_statistics(
    const char* function, const Options& options, const State<T, Channels>& state, bool given,
    const Moments<accumulator_t<T>, Channels>& batch) {
  if (batch.count == 1) return usable_running_statistics(function, options, state, given);
  const auto use = statistics_of(batch);
  check_deviation<parameter_t<T>>(function, options.epsilon, state.channels(), use);
  return use;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_CHECK_INFERENCE_HPP
