// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_MADE_UP_RESULTS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_MADE_UP_RESULTS_HPP

#include <vector>

#include "benchmarks/result.hpp"

namespace batchnorm_benchmarks {

/// Results with round numbers, for the tests of what is made of them.
inline RowResult made_up(Work work, int threads, double ours, const std::vector<Rival>& rivals) {
  RowResult result;
  result.row = {work, {Layout::rows, 16384, 512, 1, 1}, Element::f32, threads};
  result.streams = {0.002 / threads, 0.001 / threads, 0.004 / threads};
  result.limit_seconds = 0.002;
  result.ours = {ours, 0.0};
  result.rivals = rivals;
  return result;
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_MADE_UP_RESULTS_HPP
