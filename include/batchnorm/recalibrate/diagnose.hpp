// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_DIAGNOSE_HPP
#define BATCHNORM_RECALIBRATE_DIAGNOSE_HPP

#include <algorithm>
#include <cmath>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/diagnosis.hpp"
#include "batchnorm/recalibrate/effective_values.hpp"
#include "batchnorm/recalibrate/minibatch_series.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// What an average by some rule is made of: how much is left of the initial value, and how many
/// minibatches of equal weight it is worth.
struct AverageWeights {
  double initial = not_known;
  double effective = not_known;
  double effective_in_the_long_run = not_known;
  Index batches_to_go = -1;
};

/// Minibatches of equal weight that an average is worth which started from the average of `start`
/// ones and then moved `steps` times, keeping b of the old. Sum of squared weights:
/// b^(2 steps) / start + (1 - b) (1 - b^(2 steps)) / (1 + b).
inline double effective_batches(double b, double start, double steps) {
  const double left = std::pow(b, 2.0 * steps);
  return 1.0 / (left / start + (1.0 - b) * (1.0 - left) / (1.0 + b));
}

/// The same after very many steps; infinite where the average moves no more.
inline double effective_batches_in_the_long_run(double b) {
  return (1.0 + b) / (1.0 - b);
}

/// The least n with b^n < 0.01.
inline Index batches_to_forget(double b) {
  if (!(b > 0.0)) return 1;
  if (!(b < 1.0)) return -1;
  return static_cast<Index>(std::floor(std::log(0.01) / std::log(b))) + 1;
}

/// Of an exponential average. @param given  minibatches that it started from, 0: the initial value
inline AverageWeights exponential_weights(double b, Index batches, Index given) {
  AverageWeights weights;
  weights.effective_in_the_long_run = effective_batches_in_the_long_run(b);
  const double steps = static_cast<double>((std::max)(batches - given, Index{0}));
  if (given != 0) {
    weights.initial = 0.0;
    weights.batches_to_go = 0;
    // Where nobody knows how many it started from, what is left of them counts for nothing.
    if (batches >= 0 && given > 0) {
      weights.effective = effective_batches(b, static_cast<double>(given), steps);
    }
  } else if (batches >= 0) {
    const double left = std::pow(b, steps);
    weights.initial = left;
    weights.effective =
        b < 1.0 ? weights.effective_in_the_long_run * (1.0 - left) / (1.0 + left) : 0.0;
    const Index needed = batches_to_forget(b);
    weights.batches_to_go = needed < 0 ? needed : (std::max)(needed - batches, Index{0});
  }
  return weights;
}

/// Of rules whose first minibatch replaces what was there.
inline AverageWeights other_weights(const RunningUpdate& rule, Index batches, Index given) {
  AverageWeights weights;
  const double b = rule.rule() == RunningUpdate::Rule::windowed
                       ? static_cast<double>(rule.window()) / static_cast<double>(rule.window() + 1)
                   : rule.rule() == RunningUpdate::Rule::exponential_debiased
                       ? 1.0 - rule.new_weight()
                       : 1.0;
  weights.effective_in_the_long_run = effective_batches_in_the_long_run(b);
  if (batches < 0) return weights;
  const double k = static_cast<double>(batches);
  weights.initial = batches == 0 ? 1.0 : 0.0;
  weights.batches_to_go = batches == 0 ? 1 : 0;
  weights.effective = k;
  if (rule.rule() == RunningUpdate::Rule::exponential_debiased && b < 1.0) {
    const double left = std::pow(b, k);
    weights.effective = weights.effective_in_the_long_run * (1.0 - left) / (1.0 + left);
  } else if (rule.rule() == RunningUpdate::Rule::windowed && batches > rule.window() + 1) {
    const double start = static_cast<double>((std::max)(given, rule.window() + 1));
    weights.effective = effective_batches(b, start, k - start);
  }
  return weights;
}

template <class T, int Channels>
AverageWeights weights_of(const State<T, Channels>& state, const Options& options) {
  const bool exponential = options.running.rule() == RunningUpdate::Rule::exponential;
  AverageWeights weights =
      exponential ? exponential_weights(1.0 - options.running.new_weight(), state.batches_seen,
                                        state.batches_given)
                  : other_weights(options.running, state.batches_seen, state.batches_given);
  const bool untouched = has_initial_statistics(state);
  if (state.batches_seen == 0 && !untouched) weights = AverageWeights{};  // assigned by hand
  return weights;
}

template <class T, int Channels>
void judge_channels(Diagnosis& d, const State<T, Channels>& state, const Options& options) {
  d.variance.resize(d.channels);
  // A channel that never varied is left with its share of the initial variance, 1.
  const bool has_seen = std::isnan(d.initial_weight) || d.initial_weight < 1.0;
  const double nothing = std::isnan(d.initial_weight) ? 0.0 : d.initial_weight * (1.0 + 1e-9);
  for (Index c = 0; c < d.channels; ++c) {
    const double variance = static_cast<double>(state.running_variance[c]);
    const double gamma = std::fabs(static_cast<double>(gamma_of(options, state, c)));
    const double gain = gamma / std::sqrt(variance + options.epsilon);
    d.variance[c] = variance;
    if (!is_finite(variance) || variance < 0.0 || !is_finite(state.running_mean[c]) ||
        !is_finite(gamma) || !is_finite(beta_of(options, state, c))) {
      d.not_usable.push_back(c);
      continue;
    }
    if (has_seen && variance <= nothing) {
      d.constant.push_back(c);
    } else if (variance < options.epsilon) {
      d.epsilon_rules.push_back(c);
    }
    if (gamma < 1e-3) d.small_gamma.push_back(c);
    if (d.largest_gain_channel < 0 || gain > d.largest_gain) {
      d.largest_gain = gain;
      d.largest_gain_channel = c;
    }
  }
}

/// Standard errors of one channel, of values of this variance that come in groups of `alike`, each
/// of which is worth one independent value.
inline void judge_errors(Diagnosis& d, Index c, double values, double variance, double alike) {
  const double independent = values / alike;
  d.mean_error[c] = std::sqrt(variance / independent);
  d.variance_error[c] = variance * std::sqrt(2.0 / independent);
}

/// What a series says about the values of an example.
/// @param variance  of all values of the channel
/// @return how many values of a channel are worth one independent value, 1 or more
inline double judge_values(Diagnosis& d, Index c, const MinibatchSeries<double>& series,
                           double variance) {
  const double minibatches = static_cast<double>(series.minibatches());
  const double values = values_of_equal_weight(series.pooled);
  const double of_means = series.means.sum_of_squares[c] / (minibatches - 1.0);
  // Independent values would make minibatch means vary by variance / values of a minibatch.
  const double alike = variance > 0.0 ? of_means * (values / minibatches) / variance : 1.0;
  d.effective_values_per_example[c] = d.values_per_example / (std::max)(alike, 1.0);
  return (std::max)(alike, 1.0);
}

/// All that is said about errors. @param values  of a minibatch that the average was taken of
inline void judge_errors(Diagnosis& d, double values, const MinibatchSeries<double>* series) {
  const bool known = d.effective_batches > 0.0 && values > 0.0;
  for (Eigen::VectorXd* errors : {&d.mean_error, &d.variance_error}) {
    if (known) errors->resize(d.channels);
  }
  const bool observed = known && series != nullptr && series->variances.count > 1;
  if (observed) d.observed_variance_error.resize(d.channels);
  if (series != nullptr) {
    d.series_minibatches = series->minibatches();
    d.values_per_example =
        values_of_equal_weight(series->pooled) / static_cast<double>(series->examples);
    d.effective_values_per_example.resize(d.channels);
  }
  for (Index c = 0; c < d.channels; ++c) {
    double variance = d.variance[c];
    double alike = 1.0;
    if (series != nullptr) {
      // Running variances of values that are alike are low.
      variance = series->pooled.sum_of_squares[c] / series->pooled.divisor(1);
      alike = judge_values(d, c, *series, variance);
    }
    if (known) judge_errors(d, c, d.effective_batches * values, variance, alike);
    if (!observed) continue;
    const double of_variances =
        series->variances.sum_of_squares[c] / static_cast<double>(series->variances.count - 1);
    d.observed_variance_error[c] = std::sqrt(of_variances / d.effective_batches);
  }
}

template <class T, int Channels>
Diagnosis diagnose_state(const State<T, Channels>& state, const Options& options,
                         const MinibatchSeries<double>* series) {
  constexpr const char* function = "diagnose";
  check_state_shape(function, state);
  validate(options);
  if (series != nullptr) series->check(function);
  if (series != nullptr && series->channels() != state.channels()) {
    fail_argument(function, "channels of the series", text(state.channels()),
                  text(series->channels()));
  }
  if (series != nullptr && (series->minibatches() < 2 || series->examples < 1)) {
    fail_argument(function, "a series has a spread", "2 minibatches or more",
                  text(series->minibatches()));
  }
  if (series != nullptr && !series->pooled.has_sample_variance()) {
    fail_divisor(function, series->pooled.sample_divisor());
  }
  const AverageWeights weights = weights_of(state, options);
  Diagnosis d;
  d.channels = state.channels();
  d.rule = options.running;
  d.batches_seen = state.batches_seen;
  d.samples_seen = state.samples_seen;
  d.staleness = state.staleness;
  d.initial_weight = weights.initial;
  d.batches_to_go = weights.batches_to_go;
  d.effective_batches = weights.effective;
  d.effective_batches_in_the_long_run = weights.effective_in_the_long_run;
  judge_channels(d, state, options);
  double values = 0.0;
  if (state.batches_seen > 0 && state.samples_seen > 0) {
    values = static_cast<double>(state.samples_seen) / static_cast<double>(state.batches_seen);
  } else if (series != nullptr) {
    values = values_of_equal_weight(series->pooled) / static_cast<double>(series->minibatches());
  }
  judge_errors(d, values, series);
  return d;
}

}  // namespace detail

/// How good the running statistics of a layer are: how much of them is still the initial value, how
/// many minibatches they are worth, their standard errors, whether they are stale, and which
/// channels are odd.
///
///     std::cout << diagnose(layer).text();
///
/// From the layer alone, the errors are those of independent values: too small for images. A series
/// of minibatches, gathered with fixed weights, shows how much alike the values of an example are:
///
///     diagnose(layer, report.layers[0].series)     // of a re-estimation
///
/// @throws std::invalid_argument when the parts of the state differ in size, or a series is of
///         other channels, of parts that do not belong together, or of fewer than two minibatches
/// Shapes: one number per channel. Cost: a few operations per channel. Source: Kish, Survey
/// Sampling (1965), 8.2, for effective numbers; the errors are those of means and variances of
/// normal values.
template <class T, int Channels>
Diagnosis diagnose(const BatchNorm<T, Channels>& layer) {
  return detail::diagnose_state(layer.state(), layer.options(), nullptr);
}
/// The same with a series of minibatches of the layer.
template <class T, int Channels>
Diagnosis diagnose(const BatchNorm<T, Channels>& layer, const MinibatchSeries<double>& series) {
  return detail::diagnose_state(layer.state(), layer.options(), &series);
}

/// The same for a state from elsewhere, say a checkpoint, and the options it was trained with.
template <class T, int Channels>
Diagnosis diagnose(const State<T, Channels>& state, const Options& options) {
  return detail::diagnose_state(state, options, nullptr);
}
/// The same with a series of minibatches.
template <class T, int Channels>
Diagnosis diagnose(const State<T, Channels>& state, const Options& options,
                   const MinibatchSeries<double>& series) {
  return detail::diagnose_state(state, options, &series);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_DIAGNOSE_HPP
