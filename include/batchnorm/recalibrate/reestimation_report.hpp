// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_REESTIMATION_REPORT_HPP
#define BATCHNORM_RECALIBRATE_REESTIMATION_REPORT_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/recalibrate/minibatch_series.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// What a re-estimation says about itself, and the two choices that it is about.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How the statistics of a training set are made from those of its minibatches. Thread safety:
/// immutable.
class Estimator {
 public:
  /// The mean and variance of all values, the spread between minibatches included: what one
  /// minibatch of everything would have. The default. Right also for images, whose values are alike
  /// within one: there every average of variances is low (table in examples/README.md).
  static Estimator population() { return Estimator(true); }

  /// The average of the minibatches' means, and of m / (m - 1) times their population variances, m
  /// being the values of a minibatch (Ioffe and Szegedy 2015, algorithm 2, line 10).
  static Estimator paper() { return Estimator(false); }

  /// Whether all values are pooled.
  bool is_population() const { return is_population_; }

  /// Whether both are the same.
  friend bool operator==(const Estimator& a, const Estimator& b) {
    return a.is_population_ == b.is_population_;
  }
  /// Whether they differ.
  friend bool operator!=(const Estimator& a, const Estimator& b) { return !(a == b); }

 private:
  explicit Estimator(bool is_population) : is_population_(is_population) {}

  bool is_population_;
};

/// What the layers in front of a layer normalise with while its statistics are taken.
enum class ReestimationOrder {
  one_pass,          ///< their minibatches, as in training: one pass over the data for all layers
  layer_after_layer  ///< their new statistics, as at test time: one pass for every layer
};

/// The choices of a re-estimation.
struct ReestimationOptions {
  Estimator estimator = Estimator::population();          ///< what statistics are made
  ReestimationOrder order = ReestimationOrder::one_pass;  ///< what normalises meanwhile
  Execution execution;  ///< who normalises and sums; with a Synchronize, minibatches of all ranks
};

/// The root mean square of one number per channel, and the number of largest magnitude.
struct ChannelSummary {
  double rms = 0.0;      ///< the root mean square, in the unit of the numbers
  double largest = 0.0;  ///< the number of largest magnitude, with its sign
  Index channel = -1;    ///< the index of its channel; -1 without channels
};

/// Sums up numbers, one per channel; NaN counts as largest. Shapes: any number of channels, none
/// too. Errors: none. Cost: one pass over the channels.
inline ChannelSummary summarize(const Eigen::VectorXd& numbers) {
  ChannelSummary summary;
  double squares = 0.0;
  for (Index channel = 0; channel < numbers.size(); ++channel) {
    const double number = numbers[channel];
    squares += number * number;
    // NaN is larger than everything.
    const bool is_larger = std::isnan(number) ? !std::isnan(summary.largest)
                                              : std::fabs(number) > std::fabs(summary.largest);
    if (summary.channel >= 0 && !is_larger) continue;
    summary.largest = number;
    summary.channel = channel;
  }
  if (summary.channel >= 0) summary.rms = std::sqrt(squares / static_cast<double>(numbers.size()));
  return summary;
}

/// How far other statistics of a layer are from its new ones, per channel, in what the layer sees:
///
///     mean = (other mean - mean) / s      deviation = other s / s - 1
///     s^2 = variance + epsilon
///
/// Thread safety: a plain value. Source: the definition of batch normalisation: this is by how much
/// its output is off.
struct StatisticsGap {
  Eigen::VectorXd mean;       ///< in standard deviations
  Eigen::VectorXd deviation;  ///< 0.02 where the other standard deviation is 2 % larger

  /// Whether there are numbers.
  bool is_measured() const { return mean.size() > 0; }
};

/// One layer after a re-estimation. Thread safety: a plain value.
struct LayerReestimate {
  Eigen::VectorXd mean;            ///< the new running mean
  Eigen::VectorXd variance;        ///< the new running variance
  StatisticsGap running;           ///< the running averages that were there before
  StatisticsGap one_pass;          ///< those of one pass; measured by layer_after_layer only
  MinibatchSeries<double> series;  ///< what they come from, for diagnose

  /// Number of channels.
  Index channels() const { return mean.size(); }
};

namespace detail {

template <class T>
StatisticsGap gap_between(const State<T>& other, const State<T>& state, double epsilon) {
  using A = accumulator_t<T>;
  StatisticsGap gap;
  gap.mean.resize(state.channels());
  gap.deviation.resize(state.channels());
  for (Index c = 0; c < state.channels(); ++c) {
    const double variance = static_cast<double>(state.running_variance[c]) + epsilon;
    const double other_variance = static_cast<double>(other.running_variance[c]) + epsilon;
    const double moved = static_cast<double>(A(other.running_mean[c] - state.running_mean[c]));
    // Constant channels without epsilon have no unit; where nothing differs there is no gap.
    gap.mean[c] = moved == 0.0 ? 0.0 : moved / std::sqrt(variance);
    gap.deviation[c] =
        other_variance == variance ? 0.0 : std::sqrt(other_variance / variance) - 1.0;
  }
  return gap;
}

/// A number with some decimals, right in a field; one that is too large for that in short.
inline void append_number(std::string& to, double number, int width, int decimals) {
  char room[64];
  const char* const format = std::fabs(number) < 1e5 ? "%*.*f" : "%*.*g";
  std::snprintf(room, sizeof room, format, width, decimals, number);
  to += room;
}

inline void append_whole(std::string& to, Index number, int width) {
  char room[64];
  std::snprintf(room, sizeof room, "%*lld", width, static_cast<long long>(number));
  to += room;
}

/// "0.012    -0.035 (17)"
inline void append_summary(std::string& to, const Eigen::VectorXd& numbers, double unit,
                           int decimals) {
  const ChannelSummary summary = summarize(numbers);
  append_number(to, summary.rms * unit, 9, decimals);
  append_number(to, summary.largest * unit, 10, decimals);
  const std::string channel = " (" + std::to_string(summary.channel) + ")";
  to += channel;
  if (channel.size() < 7) to.append(7 - channel.size(), ' ');
}

inline void append_gaps(std::string& to, const std::vector<LayerReestimate>& layers,
                        StatisticsGap LayerReestimate::*gap) {
  to +=
      "                                 mean, in deviations         deviation, in %\n"
      "  layer  channels    values      rms   largest (channel)   rms   largest (channel)\n";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerReestimate& layer = layers[i];
    append_whole(to, static_cast<Index>(i), 7);
    append_whole(to, layer.channels(), 10);
    append_whole(to, layer.series.pooled.count, 10);
    append_summary(to, (layer.*gap).mean, 1.0, 3);
    append_summary(to, (layer.*gap).deviation, 100.0, 1);
    to.erase(to.find_last_not_of(' ') + 1);
    to += '\n';
  }
}

}  // namespace detail

/// What a re-estimation did. Thread safety: a plain value.
struct ReestimationReport {
  Estimator estimator = Estimator::population();          ///< what statistics were made
  ReestimationOrder order = ReestimationOrder::one_pass;  ///< what normalised meanwhile
  bool completed = false;  ///< false when a callback stopped it: no layer was changed, none is here
  std::vector<LayerReestimate> layers;  ///< in the order in which they were given

  /// The report for a person: for each layer how far its running averages were from the statistics
  /// that it has now, and how far the two orders are apart.
  std::string text() const {
    if (!completed) return "re-estimation was stopped: no layer was changed\n";
    // A layer that is used twice sees every example twice.
    Index examples = -1;
    Index minibatches = -1;
    for (const LayerReestimate& layer : layers) {
      if (examples >= 0 && layer.series.examples >= examples) continue;
      examples = layer.series.examples;
      minibatches = layer.series.minibatches();
    }
    std::string lines = "statistics taken anew from " + std::to_string(examples) + " examples in " +
                        std::to_string(minibatches) + " minibatches";
    lines += estimator.is_population() ? ", all values pooled" : ", averages over minibatches";
    const bool both = order == ReestimationOrder::layer_after_layer;
    lines += both ? ", layer after layer\n" : ", in one pass\n";
    lines += "how far the running averages were from them:\n";
    detail::append_gaps(lines, layers, &LayerReestimate::running);
    if (both) {
      lines += "how far the statistics of one pass are from them:\n";
      detail::append_gaps(lines, layers, &LayerReestimate::one_pass);
    } else if (layers.size() > 1) {
      lines +=
          "how far those of layer after layer are from them was not measured: "
          "ReestimationOrder::layer_after_layer\n";
    }
    return lines;
  }
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_REESTIMATION_REPORT_HPP
