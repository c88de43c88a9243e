// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP

#include <cstdint>

#include "benchmarks/contender.hpp"
#include "benchmarks/json.hpp"

namespace batchnorm_benchmarks {

/// Of one core.
std::int64_t level_2_cache_bytes();

/// Date, processor, compiler, flags and versions: what every table has to say.
Facts facts_of_build(const Contender& ours);

/// The same, the cache and how busy the machine is: what tables of times have to say.
Facts facts_of_this_run(const Contender& ours);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_FACTS_HPP
