// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_PARTITION_HPP
#define BATCHNORM_KERNELS_PARTITION_HPP

#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// How both loops cut an array into regions, for threads and for exact sums. All cuts depend on the
// shape alone, never on the number of threads, so that results do not either.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The rows [first_row, last_row) of the columns [first_column, last_column) of a traversal.
struct Region {
  Index first_column;
  Index last_column;
  Index first_row;
  Index last_row;

  Index columns() const { return last_column - first_column; }
  Index rows() const { return last_row - first_row; }
};

/// How the channels [first_channel, last_channel) of an array are cut into regions: blocks of
/// channels times slices of rows. How a channel is sliced depends on the shape of the array, not on
/// threads nor on which channels are asked for, so that its sums do not either.
class Partition {
 public:
  /// @param threads  blocks are made as narrow as it takes to give each of them some work
  Partition(const Traversal& traversal, Index first_channel, Index last_channel, Index threads = 1)
      : traversal_(traversal), first_(first_channel), last_(last_channel) {
    const Index rows = (std::max<Index>)(1, traversal.rows());
    Index elements = rows;
    if (traversal.channels_wrap()) {
      block_ = traversal.channels;
      elements = traversal.elements();
    } else if (traversal.along_rows) {
      block_ = (std::max<Index>)(1, max_block_columns / traversal.columns_per_channel);
      elements = rows * (std::min)(traversal.columns, max_block_columns);
    } else {
      block_ = (std::min)(max_block_columns, (std::max<Index>)(1, elements_per_task / rows));
    }
    // Rows in which channels come back are few, and narrow.
    const Index enough_rows =
        traversal.along_rows && !traversal.channels_wrap() ? rows / min_rows_per_slice : rows;
    slices_ =
        (std::max<Index>)(1, (std::min)({max_slices, enough_rows, elements / elements_per_task}));
    block_ = (std::min)(block_, last_ - first_);
    if (threads == 1 || traversal.channels_wrap() || !traversal.along_rows) return;
    const Index share = (last_ - first_) * slices_ / (4 * threads);
    const Index narrow = (std::max<Index>)(1, min_block_columns / traversal.columns_per_channel);
    block_ = (std::min)(block_, (std::max)(narrow, share));
  }

  /// Channels of a block; the last one may have fewer.
  Index block() const { return block_; }
  Index blocks() const { return (last_ - first_ + block_ - 1) / block_; }
  Index slices() const { return slices_; }

  Index first_channel(Index which_block) const { return first_ + which_block * block_; }
  Index last_channel(Index which_block) const {
    return (std::min)(last_, first_ + (which_block + 1) * block_);
  }

  Region region(Index which_block, Index slice) const {
    const Index rows = traversal_.rows();
    // Quotient and remainder apart: slice * rows could overflow.
    const auto cut = [&](Index s) { return s * (rows / slices_) + (std::min)(s, rows % slices_); };
    if (traversal_.channels_wrap()) return {0, traversal_.columns, cut(slice), cut(slice + 1)};
    return {first_channel(which_block) * traversal_.columns_per_channel,
            last_channel(which_block) * traversal_.columns_per_channel, cut(slice), cut(slice + 1)};
  }

 private:
  const Traversal& traversal_;
  Index first_;
  Index last_;
  Index block_;
  Index slices_;
};

/// How an array is cut to be mapped, for threads alone: an element's bits do not depend on it. Into
/// slices of memory where there are enough rows or samples, else into the blocks and slices of a
/// Partition, because every slice computes the coefficients of all channels again.
class MapPartition {
 public:
  MapPartition(const Traversal& traversal, Index threads)
      : traversal_(traversal),
        blocks_(traversal, 0, traversal.channels, threads),
        unit_(traversal.along_rows ? 1 : traversal.inner) {
    const Index units = traversal.rows() / unit_;
    const Index values = traversal.along_rows ? traversal.columns_per_channel : traversal.inner;
    const Index fewest = traversal.channels_wrap() ? 1 : (min_mapped_values + values - 1) / values;
    const Index worth = (std::min)(16 * threads, traversal.elements() / elements_per_task);
    const Index most = units / fewest;
    slices_ = most >= 4 * threads ? (std::max<Index>)(1, (std::min)(most, worth)) : 0;
  }

  Index tasks() const { return slices_ > 0 ? slices_ : blocks_.blocks() * blocks_.slices(); }

  Region region(Index task) const {
    if (slices_ == 0) return blocks_.region(task / blocks_.slices(), task % blocks_.slices());
    const Index units = traversal_.rows() / unit_;
    const auto cut = [&](Index slice) {
      return (slice * (units / slices_) + (std::min)(slice, units % slices_)) * unit_;
    };
    return {0, traversal_.columns, cut(task), cut(task + 1)};
  }

 private:
  const Traversal& traversal_;
  Partition blocks_;
  Index unit_;
  Index slices_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_PARTITION_HPP
