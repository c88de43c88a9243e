// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP

#include <cstdint>

#include "benchmarks/contender.hpp"
#include "benchmarks/json.hpp"

namespace batchnorm_benchmarks {

/// Of one core.
std::int64_t level_2_cache_bytes();

/// Machine, compiler, flags, versions and date: what every table of times has to say.
Facts facts_of_this_run(const Contender& ours);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP
