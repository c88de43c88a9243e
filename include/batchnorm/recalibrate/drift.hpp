// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_DRIFT_HPP
#define BATCHNORM_RECALIBRATE_DRIFT_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/recalibrate/drift_report.hpp"
#include "batchnorm/recalibrate/drift_score.hpp"
#include "batchnorm/recalibrate/effective_values.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The choices of a drift monitor.
struct DriftOptions {
  /// alpha, a share of 1: the most that the probability of a false alarm may be, from one restart
  /// to the next.
  double alarm_probability = 0.05;
  /// How many values are worth one independent value: 1 for features of independent examples, the
  /// positions of an image divided by Diagnosis::effective_values_per_example.
  double values_alike = 1.0;
};

/// Watches whether what enters a layer at test time is still what it was trained on. It keeps the
/// moments of what it was shown and nothing else: no values, no history of looks.
///
///     DriftMonitor monitor(layer);
///     monitor.see(moments_of(x));                 // as often as there is something
///     if (monitor.report().alarm()) std::cout << monitor.report().text();
///
/// The alarm is anytime-valid: without drift the probability that it is ever raised, however often
/// one looks, is at most alpha. A test that is made for one look, such as n KL against its 95 %
/// point, alarms in about half of all streams of 200 batches (the test drift measures both).
///
/// restart() forgets what was seen. A change is found later the longer the stream was quiet before,
/// because the mean of everything moves slowly; who restarts after every m batches finds it within
/// a few of them, and pays with a false alarm in at most one of 1 / alpha restarts, that is after
/// m / alpha batches or more on average.
///
/// What it assumes: values that are independent (values_alike makes up for values of one example
/// that are not; the frames of a video are not independent examples), and about normal, as inputs
/// of norms mostly are. Where in doubt, watch streams that are known to be good, and set alpha by
/// them. A source whose statistics are running averages is known as well as the number of values
/// that they are worth says (Diagnosis::effective_batches times those of a minibatch): give it, or
/// a long stream finds the error of the source.
///
/// Shapes: one channel or more, the same number everywhere. Cost: a few operations per channel in
/// each call. Thread safety: not for several threads at once; report() and other const functions
/// are. Source: Ramdas, Gruenwald, Vovk and Shafer 2023 (arXiv:2210.01948); recalibrate/
/// drift_score.hpp has the formulas.
struct DriftMonitor {
  Eigen::VectorXd source_mean;      ///< what the layer was trained on, per channel
  Eigen::VectorXd source_variance;  ///< likewise
  /// Independent values per channel that they come from.
  double source_values = std::numeric_limits<double>::infinity();
  DriftOptions options;  ///< the choices
  Moments<double> seen;  ///< of everything since the last restart

  /// From the mean and variance of the source.
  /// @param values   what the statistics are worth in independent values; infinity when they are
  ///                 taken as known
  /// @param choices  how careful it is
  /// @throws std::invalid_argument when sizes differ, or an option is outside of its range
  /// @throws std::domain_error when a number is not finite or a variance negative
  DriftMonitor(Eigen::VectorXd mean, Eigen::VectorXd variance,
               double values = std::numeric_limits<double>::infinity(),
               const DriftOptions& choices = {})
      : source_mean(std::move(mean)),
        source_variance(std::move(variance)),
        source_values(values),
        options(choices),
        seen(source_mean.size()) {
    check();
  }

  /// The running statistics of a layer.
  /// @throws also std::domain_error when the layer has none
  template <class T, int Channels>
  explicit DriftMonitor(const BatchNorm<T, Channels>& layer,
                        double values = std::numeric_limits<double>::infinity(),
                        const DriftOptions& choices = {})
      : DriftMonitor(statistics_of(layer).running_mean.template cast<double>(),
                     layer.state().running_variance.template cast<double>(), values, choices) {}

  /// The moments of known good data, which say themselves what they are worth.
  /// @throws also std::domain_error for fewer than two values
  template <class A, int Channels>
  explicit DriftMonitor(const Moments<A, Channels>& source, const DriftOptions& choices = {})
      : DriftMonitor(source.mean.template cast<double>(),
                     source.sample_variance().template cast<double>(),
                     values_of_equal_weight(source) / choices.values_alike, choices) {}

  /// Takes note of a batch of test data.
  /// @throws std::invalid_argument for another number of channels, and what Moments::merge throws
  /// @throws std::domain_error for NaN or infinity. Nothing is changed then.
  template <class A, int Channels>
  void see(const Moments<A, Channels>& batch) {
    detail::check_moments("DriftMonitor::see", batch, source_mean.size());
    detail::check_sound_moments("DriftMonitor::see", batch);
    Moments<double> more(source_mean.size());
    more.count = batch.count;
    more.mean = batch.mean.template cast<double>();
    more.sum_of_squares = batch.sum_of_squares.template cast<double>();
    more.set_weight(batch.weight(), batch.squared_weight(), batch.weights());
    seen.merge(more);
  }

  /// Forgets what was seen.
  void restart() { seen = Moments<double>(source_mean.size()); }

  /// How things stand. Cost: some logarithms per channel.
  DriftReport report() const;

 private:
  template <class T, int Channels>
  static const State<T, Channels>& statistics_of(const BatchNorm<T, Channels>& layer) {
    detail::check_has_statistics("DriftMonitor", layer.state(), layer.has_statistics());
    return layer.state();
  }

  void check() const;
};

inline void DriftMonitor::check() const {
  constexpr const char* function = "DriftMonitor";
  if (source_mean.size() < 1 || source_variance.size() != source_mean.size()) {
    detail::fail_argument(function, "means and variances of the source",
                          "one of each per channel, of one channel or more",
                          detail::text(source_mean.size(), " and ", source_variance.size()));
  }
  for (Index channel = 0; channel < source_mean.size(); ++channel) {
    const bool finite =
        detail::is_finite(source_mean[channel]) && detail::is_finite(source_variance[channel]);
    if (finite && !detail::is_negative(source_variance[channel])) continue;
    detail::fail_domain(function, detail::text("statistics of channel ", channel),
                        "finite numbers, the variance not negative",
                        finite ? "a negative variance" : "NaN or infinity");
  }
  const bool is_number = detail::is_finite(source_values) || detail::is_finite(1 / source_values);
  if (!is_number || source_values < 2.0) {
    detail::fail_argument(function, "values that the source is worth", "2 or more, or infinity",
                          detail::text(source_values));
  }
  const double alpha = options.alarm_probability;
  if (!detail::is_finite(alpha) || !(alpha > 0.0) || !(alpha < 1.0)) {
    detail::fail_argument(function, "probability of a false alarm", "a number between 0 and 1",
                          detail::text(alpha));
  }
  detail::check_values_alike(function, options.values_alike);
}

inline DriftReport DriftMonitor::report() const {
  const Index channels = source_mean.size();
  DriftReport report;
  report.values = values_of_equal_weight(seen) / options.values_alike;
  report.alarm_probability = options.alarm_probability;
  for (Eigen::VectorXd* numbers : {&report.shift, &report.spread, &report.kl, &report.log_e}) {
    numbers->setZero(channels);
  }
  double judged = 0.0, largest = -std::numeric_limits<double>::infinity();
  for (Index channel = 0; channel < channels; ++channel) {
    const double variance = source_variance[channel];
    if (!(variance > 0.0)) report.not_judged.push_back(channel);
    if (seen.count == 0 || !(variance > 0.0)) continue;
    const DriftSample sample{report.values,
                             (seen.mean[channel] - source_mean[channel]) / std::sqrt(variance),
                             seen.sum_of_squares[channel] / seen.divisor(0) / variance};
    report.shift[channel] = sample.shift;
    report.spread[channel] = std::sqrt(sample.variance_ratio);
    report.kl[channel] = kl_divergence(sample);
    report.log_e[channel] = log_e_value(sample, source_values);
    report.mean_kl += report.kl[channel];
    largest = (std::max)(largest, report.log_e[channel]);
    judged += 1.0;
  }
  if (!(judged > 0.0)) return report;
  // The largest is taken out: e-values themselves overflow.
  double sum = 0.0;
  for (const Index channel : detail::by_evidence(report)) {
    sum += std::exp(report.log_e[channel] - largest);
  }
  report.mean_kl /= judged;
  report.log_mean_e = largest + std::log(sum / judged);
  return report;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_DRIFT_HPP
