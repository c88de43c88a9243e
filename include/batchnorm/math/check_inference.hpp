// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_INFERENCE_HPP
#define BATCHNORM_MATH_CHECK_INFERENCE_HPP

#include <cmath>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// What gamma, beta and the statistics, running or of a minibatch, must be like before inputs are
// normalised with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline void check_number(const char* function, const char* name, Index channel, bool finite) {
  if (finite) return;
  fail_domain(function, text(name, " of channel ", channel), "a finite number",
              "NaN, infinity or overflow");
}

/// The sum of |mean|, |gamma| and |beta| over all channels, in four parts that do not wait for one
/// another. Not finite where one of them is not.
template <class T, int Channels>
accumulator_t<T> size_of_numbers(const Options& options, const State<T, Channels>& state,
                                 const accumulator_t<T>* mean) {
  using A = accumulator_t<T>;
  using std::abs;
  A parts[4] = {A(0), A(0), A(0), A(0)};
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const A gamma = gamma_of(options, state, channel);
    const A beta = beta_of(options, state, channel);
    parts[channel % 4] += abs(mean[channel]) + abs(gamma) + abs(beta);
  }
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

/// Refuses channels without a deviation (check_deviation), parameters that are not finite, and maps
/// with a number that is not finite in the type computed in: what a diverged training leaves
/// behind. Under NonFinite::propagate it is what the caller asked to see. Under
/// NonFinite::skip_update the statistics of a minibatch need not be finite, which is no reason to
/// let such parameters pass.
/// @return the statistics
template <class T, int Channels>
StatisticsView<accumulator_t<T>> check_inference(
    const char* function, const Options& options, const State<T, Channels>& state,
    const StatisticsView<accumulator_t<T>>& statistics) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  check_deviation<C>(function, options.epsilon, state.channels(), statistics);
  if (options.non_finite == NonFinite::propagate) return statistics;
  // A mean, gamma and beta of 1e15 and a root of 1e-15 leave float room: scale is at most 1e30, and
  // the rounding of the mean times it 1e38.
  if (options.epsilon >= 1e-30) {
    const A size = size_of_numbers(options, state, statistics.mean);
    if (is_finite(size) && size <= A(1e15)) return statistics;
  }
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const A& mean = statistics.mean[channel];
    const A gamma = gamma_of(options, state, channel);
    const A beta = beta_of(options, state, channel);
    check_number(function, "gamma", channel, is_finite(gamma));
    check_number(function, "beta", channel, is_finite(beta));
    const A variance = statistics.variance[channel] / statistics.divisor;
    if (!is_finite_as<C>(mean) || !is_finite(variance)) continue;
    A inverse;
    inverse_std_dev<A, 1>(inverse, variance, options.epsilon);
    const A scale = gamma * inverse;
    const A shift = beta - (mean - convert<A>(convert<C>(mean))) * scale;
    check_number(function, "gamma / sqrt(variance + epsilon)", channel, is_finite_as<C>(scale));
    check_number(function, "beta", channel, is_finite_as<C>(shift));
  }
  return statistics;
}

/// The running statistics, once they have turned out to be usable.
///
/// @param given  whether the layer was given its state
template <class T, int Channels>
StatisticsView<accumulator_t<T>> usable_running_statistics(const char* function,
                                                           const Options& options,
                                                           const State<T, Channels>& state,
                                                           bool given) {
  check_has_statistics(function, state, given);
  check_statistics(function, state, options.non_finite);
  return check_inference(function, options, state, statistics_of(state));
}

/// Those of a minibatch itself; those of the layer where it has one value per channel.
template <class T, int Channels>
StatisticsView<accumulator_t<T>> usable_statistics(
    const char* function, const Options& options, const State<T, Channels>& state, bool given,
    const Moments<accumulator_t<T>, Channels>& batch) {
  if (batch.count == 1) return usable_running_statistics(function, options, state, given);
  return check_inference(function, options, state, statistics_of(batch));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_CHECK_INFERENCE_HPP
