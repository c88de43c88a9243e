// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_RUNNING_HPP
#define BATCHNORM_MATH_RUNNING_HPP

#include <algorithm>
#include <cmath>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// f_k of running += f_k (statistic - running), for the rules that look at one minibatch after the
/// other.
///
/// @param update  the rule
/// @param batch   k, counted from 1
/// @param values  n_k, values per channel of this minibatch
/// @param total   n_1 + ... + n_k
inline double update_factor(const RunningUpdate& update, Index batch, Index values, Index total) {
  const double k = static_cast<double>(batch);
  const double weight = update.new_weight();
  switch (update.rule()) {
    case RunningUpdate::Rule::exponential:
      return weight;
    case RunningUpdate::Rule::exponential_debiased:
      // 1 - d^k without cancellation; for d = 1 the limit, 1 / k.
      return weight > 0.0 && weight < 1.0 ? weight / -std::expm1(k * std::log1p(-weight))
                                          : (std::max)(weight, 1.0 / k);
    case RunningUpdate::Rule::cumulative:
      return 1.0 / k;
    case RunningUpdate::Rule::windowed:
      return (std::max)(1.0 / k, 1.0 / (static_cast<double>(update.window()) + 1.0));
    case RunningUpdate::Rule::population:
      break;
  }
  return static_cast<double>(values) / static_cast<double>(total);
}

namespace detail {

/// The running mean and variance of one channel, in the type of the moments.
template <class A>
struct RunningPair {
  A mean;
  A variance;
};

/// Steps from the running statistics of a state to the next ones, channel by channel.
template <class T, int Channels>
class RunningStep {
  using A = accumulator_t<T>;

 public:
  RunningStep(const Options& options, const Moments<A, Channels>& batch,
              const State<T, Channels>& state)
      : batch_(batch),
        state_(state),
        seen_(state.samples_seen),
        bessel_(options.running_variance == VarianceEstimator::sample ? 1 : 0),
        pooled_(options.running.rule() == RunningUpdate::Rule::population),
        factor_(update_factor(options.running, state.batches_seen + 1, batch.count,
                              state.samples_seen + batch.count)),
        weights_(state.samples_seen, batch.count) {}

  /// Whether the next statistics can be seen to be finite without computing them: an average lies
  /// between its terms, and a variance is not larger than the sum of squares.
  bool surely_finite(Index channel) const {
    using P = parameter_t<T>;
    using std::abs;
    const A& mean = batch_.mean[channel];
    const A& squares = batch_.sum_of_squares[channel];
    return !pooled_ &&
           is_finite_as<P>(A(abs(mean) + abs(convert<A>(state_.running_mean[channel])))) &&
           is_finite_as<P>(A(abs(squares) + abs(convert<A>(state_.running_variance[channel]))));
  }

  RunningPair<A> operator()(Index channel) const {
    const RunningPair<A> running{convert<A>(state_.running_mean[channel]),
                                 convert<A>(state_.running_variance[channel])};
    return pooled_ ? pool(channel, running) : average(channel, running);
  }

 private:
  A divisor(Index count) const { return from_index<A>(count - bessel_); }

  /// running + f (statistic - running), exact at both ends.
  A blend(const A& running, const A& statistic) const {
    if (!(factor_ > 0.0)) return running;
    if (!(factor_ < 1.0)) return statistic;
    return running + A(factor_) * (statistic - running);
  }

  RunningPair<A> average(Index channel, const RunningPair<A>& running) const {
    const A variance = batch_.sum_of_squares[channel] / divisor(batch_.count);
    return {blend(running.mean, batch_.mean[channel]), blend(running.variance, variance)};
  }

  RunningPair<A> pool(Index channel, const RunningPair<A>& running) const {
    A mean = batch_.mean[channel];
    A squares = batch_.sum_of_squares[channel];
    if (seen_ > 0) {
      mean = running.mean;
      squares = running.variance * divisor(seen_);
      merge_moments(mean, squares, batch_.mean[channel], batch_.sum_of_squares[channel], weights_);
    }
    return {mean, squares / divisor(seen_ + batch_.count)};
  }

  const Moments<A, Channels>& batch_;
  const State<T, Channels>& state_;
  Index seen_;
  Index bessel_;
  bool pooled_;
  double factor_;
  MergeWeights<A> weights_;
};

}  // namespace detail

/// Refuses a step of the running statistics that cannot be taken, before anything is written: one
/// whose result is not finite in the type of the state (unless that is to be propagated), or a
/// pooled one from a state that has seen batches but does not say how many samples.
/// @throws std::domain_error naming the rule and the first channel that breaks it.
template <class T, int Channels>
void check_running_update(const char* function, const Options& options,
                          const Moments<accumulator_t<T>, Channels>& batch,
                          const State<T, Channels>& state) {
  using P = parameter_t<T>;
  if (options.running.rule() == RunningUpdate::Rule::population && state.batches_seen > 0 &&
      state.samples_seen == 0) {
    detail::fail_domain(function, "the population rule weighs by samples seen",
                        "samples_seen larger than 0 in a state that has seen batches", "0");
  }
  if (options.non_finite == NonFinite::propagate) return;
  const detail::RunningStep<T, Channels> step(options, batch, state);
  for (Index channel = 0; channel < state.channels(); ++channel) {
    if (step.surely_finite(channel)) continue;
    const auto next = step(channel);
    if (detail::is_finite_as<P>(next.mean) && detail::is_finite_as<P>(next.variance)) continue;
    detail::fail_domain(function, detail::text("new running statistics of channel ", channel),
                        "finite numbers", "NaN, infinity or overflow");
  }
}

/// Moves the running statistics of a state on by one minibatch, by the rule of the options:
///
///     running_mean     += f_k (mean - running_mean)
///     running_variance += f_k (variance - running_variance)
///
/// and for RunningUpdate::population to the moments of all values seen so far. The step has been
/// checked by check_running_update; this function cannot fail, so that a state never is half new.
///
/// Cost: one pass over the channels; allocates nothing.
template <class T, int Channels>
void apply_running_update(const Options& options, const Moments<accumulator_t<T>, Channels>& batch,
                          State<T, Channels>& state) {
  using P = parameter_t<T>;
  const detail::RunningStep<T, Channels> step(options, batch, state);
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const auto next = step(channel);
    state.running_mean[channel] = detail::convert<P>(next.mean);
    state.running_variance[channel] = detail::convert<P>(next.variance);
  }
  state.batches_seen += 1;
  state.samples_seen += batch.count;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_RUNNING_HPP
