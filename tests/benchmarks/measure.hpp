// SPDX-License-Identifier: MIT
// Everything that is timed in one row, by Google Benchmark, in random order.
#ifndef BATCHNORM_TESTS_BENCHMARKS_MEASURE_HPP
#define BATCHNORM_TESTS_BENCHMARKS_MEASURE_HPP

#include <functional>
#include <string>
#include <vector>

#include "benchmarks/contender.hpp"
#include "benchmarks/result.hpp"

namespace batchnorm_benchmarks {

/// How long to measure.
struct Effort {
  int repetitions = 7;
  double seconds_per_repetition = 0.02;
};

/// Must be called once before measure_row.
void prepare_google_benchmark();

/// Times functions by name: repetitions of all of them in random order, so that a slow spell of the
/// machine hits everybody. Seconds per call of each repetition, in the order of the functions.
struct Timed {
  std::string name;
  std::function<void()> run;
};
std::vector<std::vector<double>> time_interleaved(const std::vector<Timed>& functions,
                                                  const Effort& effort);

/// What a row gives: its result, and why contenders were left out.
struct MeasuredRow {
  RowResult result;
  bool measured = false;  ///< false when this library has no such work, or gave a wrong answer
  std::vector<std::string> left_out;
  bool ours_is_wrong = false;
};

/// Checks every contender's answer against the naive one, then times those that are right.
MeasuredRow measure_row(const Problem& problem, const Contender& ours, const Effort& effort);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_MEASURE_HPP
