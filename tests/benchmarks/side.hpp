// SPDX-License-Identifier: MIT
// What a shared library offers that holds this library as it was at one commit. Plain data and
// names, so that commits need not agree on anything else.
#ifndef BATCHNORM_TESTS_BENCHMARKS_SIDE_HPP
#define BATCHNORM_TESTS_BENCHMARKS_SIDE_HPP

#include <cstddef>

namespace batchnorm_benchmarks {

/// The data of a row: a Problem (contender.hpp) without types of the standard library.
struct SideProblem {
  const char* row;   ///< name_of(Row)
  int most_threads;  ///< of all rows
  const void* in;
  const void* second;  ///< the residual, or the gradient of the output
  void* out;
  std::size_t channels;
  const double *gamma, *beta, *running_mean, *running_variance;
  const double *batch_mean, *batch_variance;  ///< null but for backward
};

}  // namespace batchnorm_benchmarks

// The only names that a program sees.
#pragma GCC visibility push(default)
extern "C" {
/// A layer that is ready for the row, or null when the commit has no such row.
void* batchnorm_side_prepare(const batchnorm_benchmarks::SideProblem* problem);
void batchnorm_side_run(void* prepared);
void batchnorm_side_release(void* prepared);
}
#pragma GCC visibility pop

#endif  // BATCHNORM_TESTS_BENCHMARKS_SIDE_HPP
