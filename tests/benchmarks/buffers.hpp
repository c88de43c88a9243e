// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_BUFFERS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_BUFFERS_HPP

#include <cstddef>
#include <memory>

#include "benchmarks/contender.hpp"
#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

/// Memory for every row of one scalar: an input, a second input (the residual, or the gradient of
/// the output) and an output. Normal numbers, written once before anything is measured, so that no
/// page is new while the clock runs. Rows share it; what stays in the cache from one call to the
/// next does so for everybody.
class Buffers {
 public:
  Buffers(Element element, std::size_t elements);

  /// Whether the row fits.
  bool serve(const Row& row) const;

  /// The problem of that row on the first part of the memory.
  Problem problem(const Row& row) const;

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  using Memory = std::unique_ptr<void, Free>;

  static Memory take(std::size_t bytes);

  Element element_;
  std::size_t elements_;
  Memory in_, second_, out_;
};

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_BUFFERS_HPP
