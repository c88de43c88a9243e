// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_RUNNING_HPP
#define BATCHNORM_MATH_RUNNING_HPP

#include <algorithm>
#include <cmath>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Longer than most: every rule takes its step in one place, in vectors, and is checked by it.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// f_k of running += f_k (statistic - running), for the rules that look at one minibatch after the
/// other.
///
/// @param update  the rule
/// @param batch   k, counted from 1
/// @param values  n_k, values per channel of this minibatch
/// @param total   n_1 + ... + n_k
/// Errors: none; the caller has checked that k and total are positive. Source: Kingma and Ba 2015,
/// section 3, for the debiased rule; RunningUpdate for the others.
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

/// How many values moments stand for: frequencies count values, which then are as many as their
/// sum, where that is a whole number.
template <class A, int Channels>
Index values_of(const Moments<A, Channels>& batch) {
  const double weight = batch.weight();
  const bool whole =
      batch.weights() == Weights::frequency && weight < 0x1p53 && !(std::floor(weight) < weight);
  return whole ? static_cast<Index>(weight) : batch.count;
}

/// Refuses weights that the rules of an update cannot do with.
template <class A, int Channels>
void check_update_weights(const char* function, const Options& options,
                          const Moments<A, Channels>& batch) {
  const bool sample = options.running_variance == VarianceEstimator::sample;
  if (sample && batch.count > 1 && !batch.has_sample_variance()) {
    fail_divisor(function, batch.sample_divisor());
  }
  const double values = static_cast<double>(values_of(batch));
  const bool counted = !(batch.weight() < values) && !(batch.weight() > values);
  if (counted || options.running.rule() != RunningUpdate::Rule::population) return;
  fail_domain(function, "the population rule weighs minibatches by their numbers of values",
              "weights of Weights::frequency whose sum is a whole number, or another rule",
              text("weights with a sum of ", batch.weight()));
}

/// Steps from the running statistics of a state to the next ones.
template <class T, int Channels>
class RunningStep {
  using A = accumulator_t<T>;
  template <int Lanes>
  using V = simd::Vector<A, Lanes>;

 public:
  RunningStep(const Options& options, const Moments<A, Channels>& batch,
              const State<T, Channels>& state)
      : batch_(batch),
        state_(state),
        seen_(state.samples_seen),
        bessel_(options.running_variance == VarianceEstimator::sample ? 1 : 0),
        pooled_(options.running.rule() == RunningUpdate::Rule::population),
        values_(values_of(batch)),
        factor_(update_factor(options.running, state.batches_seen + 1, values_,
                              state.samples_seen + values_)),
        weights_(state.samples_seen, values_) {}

  /// Whether the next statistics of some channels can be seen to be finite without computing them:
  /// an average lies between its terms, and a variance is not larger than the sum of squares.
  template <int Lanes>
  [[gnu::always_inline]] bool surely_finite(const ChannelGroup& group) const {
    V<Lanes> mean, variance, batch_mean, batch_squares, most;
    load<Lanes>(group, mean, variance, batch_mean, batch_squares);
    for (V<Lanes>* const number : {&mean, &variance, &batch_mean}) {
      simd::replace_negative(*number, V<Lanes>(-*number));
    }
    simd::broadcast<A, Lanes>(most, convert<A>((std::numeric_limits<parameter_t<T>>::max)()));
    AllLanes<A, Lanes> good;
    for (const V<Lanes>& sum : {V<Lanes>(mean + batch_mean), V<Lanes>(variance + batch_squares)}) {
      good.finite(sum);
      good.at_most(sum, most);
    }
    return !pooled_ && good.passed();
  }

  /// The next running mean and variance of some channels.
  template <int Lanes>
  [[gnu::always_inline]] void next(const ChannelGroup& group, V<Lanes>& mean,
                                   V<Lanes>& variance) const {
    V<Lanes> batch_mean, batch_squares;
    load<Lanes>(group, mean, variance, batch_mean, batch_squares);
    if (pooled_) {
      pool(mean, variance, batch_mean, batch_squares);
    } else {
      blend(mean, batch_mean);
      const V<Lanes> statistic = batch_squares / batch_.divisor(bessel_);
      blend(variance, statistic);
    }
  }

 private:
  template <int Lanes>
  [[gnu::always_inline]] void load(const ChannelGroup& group, V<Lanes>& mean, V<Lanes>& variance,
                                   V<Lanes>& batch_mean, V<Lanes>& batch_squares) const {
    load_channels<A, Lanes>(mean, state_.running_mean.data(), group);
    load_channels<A, Lanes>(variance, state_.running_variance.data(), group);
    load_channels<A, Lanes>(batch_mean, batch_.mean.data(), group);
    load_channels<A, Lanes>(batch_squares, batch_.sum_of_squares.data(), group);
  }

  A divisor(Index count) const { return from_index<A>(count - bessel_); }

  /// running + f (statistic - running), exact at both ends.
  template <class Number>
  [[gnu::always_inline]] void blend(Number& running, const Number& statistic) const {
    if (!(factor_ < 1.0)) {
      running = statistic;
    } else if (factor_ > 0.0) {
      running += A(factor_) * (statistic - running);
    }
  }

  template <class Number>
  [[gnu::always_inline]] void pool(Number& mean, Number& variance, const Number& batch_mean,
                                   const Number& batch_squares) const {
    if (seen_ > 0) {
      variance *= divisor(seen_);
      merge_moments(mean, variance, batch_mean, batch_squares, weights_);
    } else {
      mean = batch_mean;
      // One value has no sample variance; what stands there counts for nothing in the next step.
      if (values_ == bessel_) return;
      variance = batch_squares;
    }
    variance /= divisor(seen_ + values_);
  }

  const Moments<A, Channels>& batch_;
  const State<T, Channels>& state_;
  Index seen_;
  Index bessel_;
  bool pooled_;
  Index values_;
  double factor_;
  MergeWeights<A> weights_;
};

/// Stops at channels whose next statistics might not be finite.
template <class T, int Channels>
struct FiniteRunning {
  const RunningStep<T, Channels>& step;
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    const bool finite = step.template surely_finite<Lanes>(group);
    if (!finite) reached = group.first;
    return finite;
  }
};

/// Writes the next running statistics to a state.
template <class T, int Channels>
struct RunningWriter {
  const RunningStep<T, Channels>& step;
  State<T, Channels>& state;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    using A = accumulator_t<T>;
    simd::Vector<A, Lanes> mean, variance;
    step.template next<Lanes>(group, mean, variance);
    simd::store<A, Lanes>(state.running_mean.data() + group.first, mean);
    simd::store<A, Lanes>(state.running_variance.data() + group.first, variance);
    return true;
  }
};

}  // namespace detail

/// Refuses to count on from a state that does not say what it has seen, when the rule divides by
/// it: taken for zero, an unknown count would drop the statistics that are there at the first step.
/// So would a zero that stands beside statistics which some data must have left behind. Shapes: any
/// sound state. Cost: at most one pass over the channels.
/// @param function  who asks, for the message; so for the checks below
/// @throws std::domain_error naming rule and counter.
template <class T, int Channels>
void check_counter(const char* function, const RunningUpdate& rule,
                   const State<T, Channels>& state) {
  if (rule.rule() == RunningUpdate::Rule::exponential) return;
  const bool pooled = rule.rule() == RunningUpdate::Rule::population;
  const Index count = pooled ? state.samples_seen : state.batches_seen;
  if (count > 0) return;
  const bool known = count == 0;
  const bool others = pooled && state.batches_seen != 0;
  if (known && !others && detail::has_initial_statistics(state)) return;
  const char* const counter = pooled ? "samples_seen" : "batches_seen";
  const char* const got = !known   ? "State::unknown"
                          : others ? "0 in a state that has seen minibatches"
                                   : "0 beside statistics that are not those of a new layer";
  detail::fail_domain(
      function,
      pooled ? "the population rule weighs by samples seen"
             : "cumulative, windowed and debiased rules divide by minibatches seen",
      detail::text(
          "a count of what the running statistics come from in state().", counter,
          "; where nobody knows it, give a guess, use RunningUpdate::take_new or keep_old, "
          "or start anew with state().forget_statistics()"),
      got);
}

/// Refuses a state that no step can start from, be NaN propagated or not: one that does not know
/// what its rule divides by, a counter that `values` more do not fit into, or a running variance
/// below zero, which would be averaged on.
/// @param function  who asks, for the message
/// @param values    per channel of the next minibatch
/// Shapes: any sound state.
/// @throws std::domain_error naming the rule, or the first channel that breaks it
/// @throws std::invalid_argument for the counter
/// Cost: one pass over the channels.
template <class T, int Channels>
void check_running_start(const char* function, const RunningUpdate& rule, Index values,
                         const State<T, Channels>& state) {
  check_counter(function, rule, state);
  detail::check_room(function, "minibatches seen", state.batches_seen, 1);
  detail::check_room(function, "samples seen", state.samples_seen, values);
  for (Index channel = 0; channel < state.channels(); ++channel) {
    detail::check_variance(function, state.running_variance[channel], channel);
  }
}

/// Refuses a step of the running statistics that cannot be taken, before anything is written: one
/// whose result is not finite in the type of the parameters (unless that is to be propagated), or
/// one from a state that check_running_start refuses by the rule of the options. The function is
/// who asks, for the message. Shapes: the moments of the batch have the channels of the state.
/// Cost: one pass over the channels.
/// @throws what that does, and std::domain_error naming the first channel that is not finite
template <class T, int Channels>
void check_running_update(const char* function, const Options& options,
                          const Moments<accumulator_t<T>, Channels>& batch,
                          const State<T, Channels>& state) {
  using P = parameter_t<T>;
  check_running_start(function, options.running, detail::values_of(batch), state);
  detail::check_update_weights(function, options, batch);
  if (options.non_finite == NonFinite::propagate) return;
  const detail::RunningStep<T, Channels> step(options, batch, state);
  Index reached = state.channels();
  detail::for_channels<accumulator_t<T>>(0, reached,
                                         detail::FiniteRunning<T, Channels>{step, reached});
  for (Index channel = reached; channel < state.channels(); ++channel) {
    accumulator_t<T> mean, variance;
    step.template next<1>({channel}, mean, variance);
    if (detail::is_finite_as<P>(mean) && detail::is_finite_as<P>(variance)) continue;
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
/// checked by check_running_update; this function cannot fail, so that a state never is half new. A
/// counter that is unknown stays so.
///
/// Shapes: the moments of the batch have the channels of the state. Errors: none. Source: Ioffe and
/// Szegedy 2015, algorithm 2, line 10; update_factor has the rules. Cost: one pass over the
/// channels; allocates nothing.
template <class T, int Channels>
void apply_running_update(const Options& options, const Moments<accumulator_t<T>, Channels>& batch,
                          State<T, Channels>& state) {
  const detail::RunningStep<T, Channels> step(options, batch, state);
  detail::for_channels<accumulator_t<T>>(0, state.channels(),
                                         detail::RunningWriter<T, Channels>{step, state});
  constexpr Index unknown = State<T, Channels>::unknown;
  if (state.batches_seen != unknown) state.batches_seen += 1;
  if (state.samples_seen != unknown) state.samples_seen += detail::values_of(batch);
}

/// Gives a state the statistics of moments: of a whole training set, of a stream.
///
///     State<float> state(features);
///     set_statistics(state, worker.total());
///     const FrozenBatchNorm<float> normalise(state, options);
///
/// @param variance  which variance the layer keeps, Options::running_variance
/// @param batches   the minibatches that the moments come from, where that is known
/// @throws std::invalid_argument for moments of another number of channels, or of too few values
/// @throws std::domain_error for statistics that are not finite. Nothing is changed then.
/// Shapes: the moments have the channels of the state. Cost: one pass over the channels.
template <class T, int Channels, class A, int Other>
void set_statistics(State<T, Channels>& state, const Moments<A, Other>& moments,
                    VarianceEstimator variance = VarianceEstimator::sample,
                    Index batches = State<T, Channels>::unknown) {
  const Index least = variance == VarianceEstimator::sample ? 2 : 1;
  if (moments.count < least) {
    detail::fail_argument("set_statistics", "values that the statistics come from",
                          detail::text("at least ", least), detail::text(moments.count));
  }
  if (least == 2 && !moments.has_sample_variance()) {
    detail::fail_divisor("set_statistics", moments.sample_divisor());
  }
  const auto spread = moments.sum_of_squares / moments.divisor(least - 1);
  state.set_statistics(moments.mean, spread, batches, detail::values_of(moments));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_RUNNING_HPP
