// SPDX-License-Identifier: MIT
// OpenMP for the benchmark itself: the rivals use it, so the limits and this library do, too.
#ifndef BATCHNORM_TESTS_BENCHMARKS_THREADS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_THREADS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>

#include "batchnorm/execution.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace batchnorm_benchmarks {

/// Rows are measured with one thread and with two, where the machine has two.
inline int most_threads() {
#if defined(_OPENMP)
  return (std::min)(2, omp_get_num_procs());
#else
  return 1;
#endif
}

/// From here on OpenMP and Eigen use so many. (Rivals with a setting of their own set it.)
inline void use_threads(int threads) {
#if defined(_OPENMP)
  omp_set_num_threads(threads);
#endif
  Eigen::setNbThreads(threads);
}

/// What this library is handed: one thread needs nothing.
inline batchnorm::Execution execution_with(int threads) {
  if (threads == 1) return batchnorm::Execution::serial();
  Eigen::setNbThreads(threads);
#if defined(_OPENMP)
  return batchnorm::openmp();
#else
  return batchnorm::Execution::serial();
#endif
}

/// body(first, last) for equal parts of [0, count), cut at multiples of `grain`.
template <class Body>
void split(int threads, std::size_t count, std::size_t grain, const Body& body) {
  if (threads == 1) return body(std::size_t{0}, count);
  const auto parts = static_cast<std::size_t>(threads);
  const std::size_t share = (count / parts + grain - 1) / grain * grain;
#if defined(_OPENMP)
#pragma omp parallel for schedule(static, 1) num_threads(threads)
#endif
  for (int part = 0; part < threads; ++part) {
    const std::size_t first = (std::min)(count, share * static_cast<std::size_t>(part));
    const std::size_t last = part + 1 == threads ? count : (std::min)(count, first + share);
    body(first, last);
  }
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_THREADS_HPP
