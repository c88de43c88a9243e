// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_TUNING_HPP
#define BATCHNORM_KERNELS_TUNING_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Every constant that was chosen by measuring: what it decides, why it has this value, and the row
// of `cmake -P cmake/benchmark.cmake --filter=ROW` that shows it. None of them changes what is
// computed, except those under "cuts", which say in which order values are summed and therefore
// depend on nothing but the shape.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

// ---- layouts (traversal.hpp)

/// Channels below which a vector across channels would be mostly tail.
inline constexpr Index min_channels_across = 4;
/// Runs of up to so many elements, of at least so many samples, are walked as rows.
inline constexpr Index max_short_run = 15;
inline constexpr Index min_short_runs = 8;
/// Rows of fewer elements are joined to rows of up to so many.
inline constexpr Index max_short_row = 33;
inline constexpr Index max_joined_row = 256;
/// Runs below this length are read sample by sample, in the order of memory, not channel by channel
/// (row nchw32x2048x7x7).
inline constexpr Index min_long_run = 256;

// ---- cuts (partition.hpp): the order of sums depends on them

/// Columns of a block: its coefficients and totals stay on the stack and in L1.
inline constexpr Index max_block_columns = 512;
/// Elements of a task: some ten microseconds of work.
inline constexpr Index elements_per_task = 32768;
/// Slices that the values of a channel are cut into: enough for the threads of one machine.
inline constexpr Index max_slices = 16;
/// Rows of a slice, so that joining slices costs nothing beside summing them.
inline constexpr Index min_rows_per_slice = 128;
/// Rows (or values of a run) whose totals are joined before they are added to the region's: a chain
/// of additions in the accumulator stays short.
inline constexpr Index rows_per_total = 8192;
/// Bytes of a row of all inputs from which on sixteen rows, walked column by column, compete for
/// the same lines of L1: their distance is often a power of two (rows nc256x1024, nc64x512).
inline constexpr Index min_colliding_row_bytes = 4096;
/// Channels whose runs are summed side by side where runs are short: their totals stay in L1.
inline constexpr Index channels_per_tile = 32;

/// Rows and places that are sampled for a pivot (pivot.hpp).
inline constexpr Index min_sampled_rows = 16;
inline constexpr Index max_sampled_rows = 64;
inline constexpr Index max_sampled_places = 16;
inline constexpr Index values_per_sampled_place = 256;

// ---- sharing between threads

/// Values of a channel per task of a map: computing the coefficients once more costs some ten.
inline constexpr Index min_mapped_values = 64;
/// Columns of a block that is made narrower for more threads.
inline constexpr Index min_block_columns = 64;

// ---- tiles

/// Bytes of the rows that are summed in one tile, where they are in cache: half of L1.
inline constexpr Index reduced_bytes = 16384;

/// Elements of a matrix that is mapped as one tile by this thread: less than any Execution shares
/// (row nc64x64).
inline constexpr Index max_few_elements = 65536;

/// Channels up to which a map along runs goes channel by channel, all samples of one in a tile.
inline constexpr Index max_channels_in_turn = 3;

/// Columns whose coefficients are kept at once: three tables of floats take 12 KiB of L1.
inline constexpr Index max_mapped_columns = 1024;
/// Strided elements are packed into a buffer of this size.
inline constexpr Index packed_elements = 512;

// ---- vectors

/// Bytes of a row from which on AVX-512 pays (shorter rows are mostly tail), and elements of a run.
inline constexpr Index min_long_vector_row_bytes = 256;
inline constexpr Index min_long_vector_run = 32;

// ---- memory

inline constexpr Index cache_line_bytes = 64;
/// How far ahead of runs and of rows of several inputs is prefetched, in bytes.
inline constexpr Index prefetch_bytes = 4096;
/// Runs up to this size are prefetched one sample ahead, longer ones within themselves.
inline constexpr Index max_run_prefetched_whole = 4 * prefetch_bytes;
/// Rows below this size follow one another closely enough for the hardware prefetcher.
inline constexpr Index min_prefetched_row_bytes = 256;

/// Bytes that stay in the second-level cache between two passes while the next ones arrive.
inline Index resident_bytes() {
  return static_cast<Index>(Eigen::l2CacheSize()) / 4;
}

/// Bytes of the last-level cache that one thread may count on: processors report the sum over the
/// package, of which a group of cores has a part.
inline Index last_level_bytes() {
  return (std::min<Index>)(static_cast<Index>(Eigen::l3CacheSize()), Index{32} << 20);
}

/// Whether operands come from beyond the second-level cache, so that prefetching pays.
inline constexpr bool exceeds_l2(Index bytes) {
  return bytes > Index{1} << 20;
}

/// Non-temporal stores pay once the working set exceeds about 3/4 of the last-level cache: the
/// output would be evicted before its next use.
inline bool worth_streaming(Index bytes) {
  return bytes > last_level_bytes() / 4 * 3;
}

/// Elements of a run from which on streaming pays: in shorter ones, the many vectors that two runs
/// share take longer than memory, and a cache hides them (row nchw32x2048x7x7).
inline constexpr Index min_streamed_run = 64;

/// Elements of a run, and bytes of neighbouring runs, from which on working channel by channel in
/// cache beats two passes in the order of memory: planes of 14 x 14 of 32 samples gain a fifth,
/// those of 256 samples would lose two fifths (rows nchw32x1024x14x14, nchw256x1024x14x14).
inline constexpr Index min_fused_run = 128;
inline constexpr Index min_fused_jump_bytes = 4096;

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_TUNING_HPP
