// SPDX-License-Identifier: MIT
// The least time that a row can take on a machine that moves bytes as fast as was measured, and
// how near to it the library promises to be.
#ifndef BATCHNORM_TESTS_BENCHMARKS_LIMIT_HPP
#define BATCHNORM_TESTS_BENCHMARKS_LIMIT_HPP

#include <cstdint>
#include <string>

#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

/// Seconds for arrays of the row's size with its number of threads, each the best of several ways.
struct Streams {
  double copy;   ///< one read, one write
  double read;   ///< one read
  double triad;  ///< two reads, one write
};

constexpr std::int64_t mebibyte = 1 << 20;

/// Whether what is read twice may stay in the cache between the two: a channel where each lies
/// apart, or the whole minibatch, in half of the second-level cache. Backward reads the input and
/// the output's gradient twice, so that both must fit.
inline bool stays_in_cache(const Row& row, std::int64_t level_2_bytes) {
  const std::int64_t arrays = row.work == Work::backward ? 2 : 1;
  const std::int64_t channels_apart = row.shape.layout == Layout::nchw ? row.shape.channels : 1;
  return arrays * bytes(row) / channels_apart <= level_2_bytes / 2;
}

/// Training reads twice and writes once, backward reads two arrays twice and writes one.
inline double limit(const Row& row, const Streams& streams, std::int64_t level_2_bytes) {
  switch (row.work) {
    case Work::infer:
    case Work::infer_relu:
      return streams.copy;
    case Work::infer_add_relu:
      return streams.triad;
    case Work::train:
    case Work::train_checked:
      return streams.copy + (stays_in_cache(row, level_2_bytes) ? 0.0 : streams.read);
    case Work::backward:
      return streams.triad + (stays_in_cache(row, level_2_bytes) ? 0.0 : 2 * streams.read);
  }
  return streams.copy;
}

/// The single examples whose bar is the best rival: calls so short that the limit says nothing.
inline bool is_single_example(const Row& row) {
  return row.shape.layout == Layout::rows && row.shape.samples == 1 &&
         (row.shape.channels == 64 || row.shape.channels == 512);
}

/// A row may take `times_limit` times its limit; 0 when there is no bar. It must be
/// `times_faster` times as fast as the best rival; among single examples the best of those that are
/// given a layer, because one who has made up a scale and a shift has nothing left to do.
struct Bar {
  double times_limit;
  double times_faster;
};

inline Bar bar(const Row& row) {
  const bool large = bytes(row) >= mebibyte;
  if (infers(row.work)) {
    if (is_single_example(row)) return {0.0, 3.0};
    return {large ? 1.15 : 2.0, 1.0};
  }
  return {large ? 1.25 : 0.0, 1.0};
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_LIMIT_HPP
