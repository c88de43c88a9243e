// SPDX-License-Identifier: MIT
// What a program takes from the heap, Eigen's share included, which does not use operator new.
#ifndef BATCHNORM_TESTS_BENCHMARKS_HEAP_HPP
#define BATCHNORM_TESTS_BENCHMARKS_HEAP_HPP

#include <cstddef>

namespace batchnorm_benchmarks {

/// Whether this C library lets its allocation functions be replaced and counted.
bool heap_is_counted();

/// Starts counting anew: from here on the peak is above what is taken now.
void restart_heap_count();

/// The most bytes that were taken at once since then, above those before.
std::size_t peak_heap_bytes();

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_HEAP_HPP
