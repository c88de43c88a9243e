// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_STATISTICS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_STATISTICS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace batchnorm_benchmarks {

/// The value below which that share of the values lies, interpolated between neighbours; 0 of
/// nothing.
inline double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = (std::min)(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

inline double median(const std::vector<double>& values) {
  return quantile(values, 0.5);
}

/// The geometric mean of ratios; 0 of nothing.
inline double geometric_mean(const std::vector<double>& ratios) {
  if (ratios.empty()) return 0.0;
  double sum = 0.0;
  for (const double ratio : ratios) sum += std::log(ratio);
  return std::exp(sum / static_cast<double>(ratios.size()));
}

/// The time of one contender in one row, from its repetitions.
struct Timing {
  double seconds = 0.0;  ///< median
  double noise = 0.0;    ///< distance of the quartiles, as a share of the median
};

inline Timing timing_of(const std::vector<double>& seconds) {
  const double middle = median(seconds);
  if (middle <= 0.0) return {middle, 0.0};
  return {middle, (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / middle};
}

/// Whether `a` is slower than `b` by more than the noise of both explains.
inline bool is_slower(const Timing& a, const Timing& b) {
  return a.seconds > b.seconds * (1.0 + a.noise + b.noise);
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_STATISTICS_HPP
