// SPDX-License-Identifier: MIT
// In which minibatches the accuracy is measured.
#ifndef BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ROWS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ROWS_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

/// Values of single precision about a mean of so many deviations, trained with once.
struct AccuracyRow {
  Layout layout;
  std::int64_t values_per_channel;
  std::int64_t offset;
  int threads;
};

/// Not few, so that every rival takes the code that it has for many.
constexpr std::int64_t accuracy_channels = 16;

/// Images are square where there are positions.
inline Shape shape_of(const AccuracyRow& row) {
  const std::int64_t values = row.values_per_channel;
  if (row.layout == Layout::rows) return {row.layout, values, accuracy_channels, 1, 1};
  std::int64_t edge = 1;
  while (100 * edge * edge < values) edge *= 10;
  return {row.layout, values / (edge * edge), accuracy_channels, edge, edge};
}

inline const char* name_of(Layout layout) {
  switch (layout) {
    case Layout::nchw:
      return "NCHW";
    case Layout::nhwc:
      return "NHWC";
    case Layout::rows:
      return "features x examples";
  }
  return "";
}

/// NCHW, 10000 values, mean 1000, 1 thread
inline std::string name_of(const AccuracyRow& row) {
  return std::string(name_of(row.layout)) + ", " + std::to_string(row.values_per_channel) +
         " values, mean " + std::to_string(row.offset) + ", " + std::to_string(row.threads) +
         (row.threads == 1 ? " thread" : " threads");
}

inline std::vector<AccuracyRow> all_accuracy_rows(int most_threads) {
  std::vector<AccuracyRow> rows;
  for (const std::int64_t values : {100, 10'000, 1'000'000}) {
    for (const std::int64_t offset : {0, 10, 1000, 1'000'000}) {
      for (const Layout layout : {Layout::nchw, Layout::nhwc, Layout::rows}) {
        for (int threads = 1; threads <= most_threads; ++threads) {
          rows.push_back({layout, values, offset, threads});
        }
      }
    }
  }
  return rows;
}

/// The four that the README shows: few values, many about zero, and many far from it in two
/// layouts.
inline bool is_in_readme(const AccuracyRow& row) {
  if (row.threads != 1) return false;
  const bool many = row.values_per_channel == 1'000'000;
  switch (row.layout) {
    case Layout::nchw:
      return many && row.offset == 1000;
    case Layout::nhwc:
      return many && (row.offset == 0 || row.offset == 1000);
    case Layout::rows:
      return row.values_per_channel == 10'000 && row.offset == 1000;
  }
  return false;
}

/// The smallest minibatches far from zero, one of each layout.
inline bool is_smoke(const AccuracyRow& row) {
  return row.values_per_channel == 100 && row.offset == 1000 && row.threads == 1;
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ROWS_HPP
