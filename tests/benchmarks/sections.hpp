// SPDX-License-Identifier: MIT
// What is measured besides the rows. Each returns text to be printed.
#ifndef BATCHNORM_TESTS_BENCHMARKS_SECTIONS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_SECTIONS_HPP

#include <string>

#include "benchmarks/json.hpp"

namespace batchnorm_benchmarks {

/// Time per element over four decades of examples and of channels, with one thread and with two.
std::string growth_section();

/// What writing a result and then reading it takes, by size: copied through the cache, past it, and
/// inferred. Adds the numbers of one size to the facts.
std::string handover_section(Facts& facts);

/// How long single calls of the inference path take, the slowest in a thousand included. Adds its
/// numbers to the facts.
std::string latency_section(Facts& facts);

/// Time on memory that does not begin with a cache line, in times of that on memory that does.
std::string alignment_section();

/// What masks and weights take, in times of the same call without.
std::string masks_section();

/// What forward mode and double backward take, in times of backward.
std::string derivatives_section();

/// What loops reach that are written for single rows; nothing on other processors than x86-64 with
/// AVX2.
std::string possible_section();

/// What the headers cost to compile, and what one layer adds to a program. Adds its numbers to the
/// facts.
std::string build_cost_section(Facts& facts);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_SECTIONS_HPP
