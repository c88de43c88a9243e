// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_DIAGNOSIS_HPP
#define BATCHNORM_RECALIBRATE_DIAGNOSIS_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/reestimation_report.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How good the running statistics of a layer are, and what is odd about it (recalibrate/
/// diagnose.hpp makes it). Numbers that nobody can know are NaN, vectors of such numbers empty.
/// Thread safety: a plain value.
struct Diagnosis {
  Index channels = 0;                                ///< number of channels
  RunningUpdate rule = RunningUpdate::population();  ///< Options::running
  Index batches_seen = 0;                            ///< number of minibatches, as in State
  Index samples_seen = 0;                            ///< values per channel, as in State
  Staleness staleness = Staleness::fresh;            ///< as in State

  /// The share that the mean 0 and variance 1 of a new layer still have in the running statistics:
  /// b^k after k minibatches with weight b on the old average.
  double initial_weight = 0.0;
  /// Minibatches until that is less than 1 %; 0 when it is, State::unknown when it never will be or
  /// nobody knows.
  Index batches_to_go = 0;
  /// How many minibatches of equal weight would give an average as good as this one, (sum of
  /// weights)^2 / sum of squared weights (Kish 1965): (1 + b) / (1 - b) in the long run.
  double effective_batches = 0.0;
  /// That number in the long run; infinity for rules that weigh all alike.
  double effective_batches_in_the_long_run = 0.0;

  /// Values per channel in an example, and below how many independent ones are worth as much for
  /// its mean: from the spread of minibatch means, so that it takes a series.
  double values_per_example = 0.0;
  /// Number of minibatches that the spread is of: few of them tell it roughly.
  Index series_minibatches = 0;
  /// Independent values that an example is worth, per channel.
  Eigen::VectorXd effective_values_per_example;

  Eigen::VectorXd variance;  ///< the running variance
  /// Standard errors of running mean and variance, of n values that count as independent:
  /// s / sqrt(n) and, for normal values, s^2 sqrt(2 / n). n is the number of effective minibatches
  /// times the values of each; where a series was given times its effective values, and s^2 is the
  /// variance of all of it.
  Eigen::VectorXd mean_error;
  Eigen::VectorXd variance_error;  ///< the error of the variance
  /// The error of the variance from the spread of minibatch variances, for values of any
  /// distribution. Takes a series.
  Eigen::VectorXd observed_variance_error;

  std::vector<Index> constant;       ///< channels that never vary
  std::vector<Index> small_gamma;    ///< channels with |gamma| < 0.001, which give beta and no more
  std::vector<Index> epsilon_rules;  ///< channels that vary, by less than epsilon
  std::vector<Index> not_usable;     ///< channels with NaN, infinity or a negative variance
  double largest_gain = 0.0;         ///< |gamma| / sqrt(variance + epsilon)
  Index largest_gain_channel = -1;   ///< the index of its channel

  /// Whether the statistics are not those of the weights.
  bool is_stale() const { return staleness != Staleness::fresh; }

  /// All of it, for a person.
  std::string text() const;
};

namespace detail {

inline std::string text_of(const RunningUpdate& rule) {
  switch (rule.rule()) {
    case RunningUpdate::Rule::exponential:
      return text("take_new(", rule.new_weight(), ")");
    case RunningUpdate::Rule::exponential_debiased:
      return text("keep_old_debiased(", 1.0 - rule.new_weight(), ")");
    case RunningUpdate::Rule::cumulative:
      return "cumulative()";
    case RunningUpdate::Rule::windowed:
      return text("windowed(", rule.window(), ")");
    case RunningUpdate::Rule::population:
      break;
  }
  return "population()";
}

inline std::string count_text(Index count) {
  return count < 0 ? std::string("an unknown number of") : text(count);
}

/// A number with three digits that count.
inline std::string short_text(double number) {
  char room[40];
  std::snprintf(room, sizeof room, "%.3g", number);
  return room;
}

/// "2 of 48: 4, 17", of many the first ones.
inline std::string list_text(const std::vector<Index>& channels, Index of) {
  if (channels.empty()) return "none";
  constexpr std::size_t most = 12;
  std::string list = text(channels.size(), " of ", of, ":");
  for (std::size_t i = 0; i < channels.size() && i < most; ++i) {
    list += text(i == 0 ? " " : ", ", channels[i]);
  }
  return channels.size() > most ? list + ", ..." : list;
}

/// Root mean square over the channels, and the largest: of numbers as they are, or each divided by
/// a scale that belongs to it.
inline std::string error_text(const Eigen::VectorXd& errors, const Eigen::VectorXd& variance,
                              bool of_mean) {
  Eigen::VectorXd relative(errors.size());
  for (Index c = 0; c < errors.size(); ++c) {
    const double scale = of_mean ? std::sqrt(variance[c]) : variance[c] / 100.0;
    relative[c] = errors[c] > 0.0 ? errors[c] / scale : 0.0;
  }
  const ChannelSummary summary = summarize(relative);
  const char* const unit = of_mean ? " deviations" : " %";
  return text(short_text(summary.rms), unit, ", at most ", short_text(summary.largest),
              " (channel ", summary.channel, ")");
}

class DiagnosisText {
 public:
  explicit DiagnosisText(const Diagnosis& diagnosis) : d_(diagnosis) {}

  std::string all() {
    lines_ = text("batch norm of ", d_.channels, " channels\n");
    statistics();
    errors();
    line("channels that never vary", list_text(d_.constant, d_.channels));
    line("gamma near zero", list_text(d_.small_gamma, d_.channels));
    line("variance below epsilon", list_text(d_.epsilon_rules, d_.channels));
    line("NaN, negative variance", list_text(d_.not_usable, d_.channels));
    line("largest gain",
         text(short_text(d_.largest_gain), " (channel ", d_.largest_gain_channel, ")"));
    return lines_;
  }

 private:
  void line(const char* name, const std::string& what) {
    std::string padded = text("  ", name);
    if (padded.size() < 30) padded.append(30 - padded.size(), ' ');
    lines_ += padded + what + "\n";
  }

  void statistics() {
    line("statistics",
         d_.is_stale() ? text("stale: from before the weights were ", done_to_weights(d_.staleness))
                       : std::string("not marked as stale"));
    line("seen", text(count_text(d_.batches_seen), " minibatches, ", count_text(d_.samples_seen),
                      " values per channel"));
    line("rule", text_of(d_.rule));
    std::string weight = std::isnan(d_.initial_weight)
                             ? std::string("unknown")
                             : short_text(100.0 * d_.initial_weight) + " %";
    if (d_.batches_to_go > 0) {
      weight += text("; ", d_.batches_to_go,
                     " more minibatches until the initial value weighs less than 1 %");
    } else if (d_.batches_to_go < 0 && !std::isnan(d_.initial_weight)) {
      weight += "; for ever";
    }
    line("weight on the initial value", weight);
    line("effective minibatches", std::isnan(d_.effective_batches)
                                      ? std::string("unknown")
                                      : text(short_text(d_.effective_batches), ", in the long run ",
                                             short_text(d_.effective_batches_in_the_long_run)));
  }

  void errors() {
    const bool has_series = d_.effective_values_per_example.size() > 0;
    if (has_series) {
      // The channel that has fewest is the one to look at.
      const Eigen::VectorXd& numbers = d_.effective_values_per_example;
      Index least = 0;
      double sum = 0.0;
      for (Index c = 0; c < d_.channels; ++c) {
        sum += numbers[c];
        if (numbers[c] < numbers[least]) least = c;
      }
      line("values per example",
           text(short_text(d_.values_per_example), ", worth ",
                short_text(sum / static_cast<double>(d_.channels)), " independent ones, at least ",
                short_text(numbers[least]), " (channel ", least, ")"));
      // The spread of m means has the relative standard error of a variance of m - 1 degrees.
      const double degrees = static_cast<double>(d_.series_minibatches - 1);
      line("", text("of one channel give or take ", short_text(100.0 * std::sqrt(2.0 / degrees)),
                    " %, from ", d_.series_minibatches, " minibatches"));
    }
    if (d_.mean_error.size() == 0) {
      line("standard errors", "unknown");
      return;
    }
    line("standard error of mean", error_text(d_.mean_error, d_.variance, true));
    line("standard error of variance", error_text(d_.variance_error, d_.variance, false));
    if (d_.observed_variance_error.size() > 0) {
      line("  as minibatches spread", error_text(d_.observed_variance_error, d_.variance, false));
    }
    if (!has_series) {
      line("", "if all values were independent; for images give diagnose a MinibatchSeries");
    }
  }

  const Diagnosis& d_;
  std::string lines_;
};

}  // namespace detail

inline std::string Diagnosis::text() const {
  return detail::DiagnosisText(*this).all();
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_DIAGNOSIS_HPP
