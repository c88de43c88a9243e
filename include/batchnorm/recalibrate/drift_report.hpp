// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_DRIFT_REPORT_HPP
#define BATCHNORM_RECALIBRATE_DRIFT_REPORT_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/recalibrate/reestimation_report.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How far test data are from the source, channel by channel and in mean (recalibrate/drift.hpp
/// makes it). Thread safety: a plain value. Channels that the source has no variance of are not
/// judged: their entries are 0, and they count in no mean.
struct DriftReport {
  double values = 0.0;  ///< n: independent values per channel seen since the last restart
  double alarm_probability = 0.0;  ///< alpha, a share of 1
  Eigen::VectorXd shift;           ///< of the means, in standard deviations of the source
  Eigen::VectorXd spread;          ///< standard deviation / that of the source
  Eigen::VectorXd kl;              ///< KL(target || source) in nats (kl_divergence)
  Eigen::VectorXd log_e;           ///< ln of the e-value (log_e_value)
  std::vector<Index> not_judged;   ///< channels whose source does not vary
  double mean_kl = 0.0;            ///< mean of kl over the channels that are judged, in nats
  /// ln of the mean of the e-values, which is an e-value itself, however the channels depend on
  /// each other: no correction for their number.
  double log_mean_e = 0.0;

  /// Number of channels.
  Index channels() const { return shift.size(); }

  /// Whether there is evidence of drift: the mean of the e-values has reached 1 / alpha.
  bool alarm() const { return log_mean_e >= -std::log(alarm_probability); }

  /// The report for a person: the verdict, and a table of so many rows, the channels with the
  /// largest e-values. Errors: none.
  std::string text(std::size_t rows = 10) const;
};

namespace detail {

/// An e-value, whose logarithm is given, with two digits: those that matter are too large or small
/// for a double.
inline std::string e_value_text(double log_e) {
  char room[40];
  if (std::fabs(log_e) < 7.0) {
    std::snprintf(room, sizeof room, "%.2g", std::exp(log_e));
    return room;
  }
  const double decimal = log_e / 2.30258509299404568402;
  double exponent = std::floor(decimal), mantissa = std::pow(10.0, decimal - exponent);
  if (mantissa >= 9.95) {  // it would be printed as 10.0
    mantissa = 1.0;
    exponent += 1.0;
  }
  std::snprintf(room, sizeof room, "%.1fe%+03.0f", mantissa, exponent);
  return room;
}

/// The judged channels, the largest e-value first.
inline std::vector<Index> by_evidence(const DriftReport& report) {
  std::vector<Index> order;
  for (Index channel = 0; channel < report.channels(); ++channel) {
    const auto& skipped = report.not_judged;
    if (std::find(skipped.begin(), skipped.end(), channel) == skipped.end()) {
      order.push_back(channel);
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](Index a, Index b) { return report.log_e[a] > report.log_e[b]; });
  return order;
}

inline void append_right(std::string& to, const std::string& word, std::size_t width) {
  if (word.size() < width) to.append(width - word.size(), ' ');
  to += word;
}

}  // namespace detail

inline std::string DriftReport::text(std::size_t rows) const {
  const std::vector<Index> order = detail::by_evidence(*this);
  std::string lines = detail::text("drift: ", alarm() ? "ALARM" : "no alarm", ", e-value ",
                                   detail::e_value_text(log_mean_e), " (alarm at ",
                                   1.0 / alarm_probability, "), KL ");
  detail::append_number(lines, mean_kl, 0, 3);
  lines += detail::text(" nats, means over ", order.size(), " channels of ", values, " values\n");
  if (!not_judged.empty()) {
    lines += detail::text("not judged, as the source has no variance of them: ", not_judged.size(),
                          " channels\n");
  }
  if (order.empty()) return lines;
  lines += "channel    shift, in deviations   spread       KL    e-value\n";
  for (std::size_t row = 0; row < order.size() && row < rows; ++row) {
    const Index channel = order[row];
    detail::append_whole(lines, channel, 7);
    detail::append_number(lines, shift[channel], 23, 3);
    lines += "   x";
    detail::append_number(lines, spread[channel], 5, 2);
    detail::append_number(lines, kl[channel], 9, 3);
    detail::append_right(lines, detail::e_value_text(log_e[channel]), 11);
    lines += '\n';
  }
  if (order.size() > rows) lines += detail::text("and ", order.size() - rows, " more\n");
  return lines;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_DRIFT_REPORT_HPP
