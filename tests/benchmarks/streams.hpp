// SPDX-License-Identifier: MIT
// What bounds every row: moving its bytes and doing nothing else.
#ifndef BATCHNORM_TESTS_BENCHMARKS_STREAMS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_STREAMS_HPP

#include <functional>
#include <string>
#include <vector>

#include "benchmarks/contender.hpp"
#include "benchmarks/limit.hpp"

namespace batchnorm_benchmarks {

enum class Stream { copy, read, triad };

/// One way to move the bytes.
struct Way {
  Stream stream;
  std::string name;
  std::function<void()> run;
};

/// Every way to copy, read and triad the arrays of this problem with its number of threads. Small
/// arrays are moved by one thread as well, because handing out work may cost more than it saves.
std::vector<Way> ways_of(const Problem& problem);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_STREAMS_HPP
