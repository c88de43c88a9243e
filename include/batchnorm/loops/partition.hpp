// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_PARTITION_HPP
#define BATCHNORM_LOOPS_PARTITION_HPP

#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// How both loops cut an array into regions, for threads and for exact sums, and by which weights
// the parts join again. All cuts depend on the
// shape alone, never on the number of threads, so that results do not either.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// The most channels that are walked across at once: their sums and coefficients lie on the stack.
inline constexpr Index most_channels_across = 256;

/// The values [first_value, last_value) of the channels [first_channel, last_channel).
struct Region {
  Index first_channel;
  Index last_channel;
  Index first_value;
  Index last_value;

  Index channels() const { return last_channel - first_channel; }
  Index values() const { return last_value - first_value; }
};

/// Elements that are worth a task of their own: some ten microseconds of work.
inline constexpr Index elements_per_task = 32768;

/// The most slices that the values of a channel are cut into: enough for the threads of a machine
/// to share one channel, few enough that merging them costs nothing.
inline constexpr Index most_slices = 16;

/// How an array is cut into regions: blocks of channels times slices of values.
struct Partition {
  Index block;  ///< channels of a block; the last one may have fewer
  Index blocks;
  Index slices;

  explicit Partition(const Traversal& traversal) {
    const Index channels = traversal.channels;
    if (traversal.across_channels) {
      block = (std::min)(channels, most_channels_across);
    } else {
      const Index channels_per_task = elements_per_task / (std::max<Index>)(1, traversal.values());
      block = (std::min)({channels, most_channels_across, (std::max<Index>)(1, channels_per_task)});
    }
    blocks = (channels + block - 1) / block;
    const Index elements = block * traversal.values();
    const bool enough_blocks = blocks >= most_slices;
    slices = enough_blocks ? 1
                           : (std::min)({most_slices, traversal.values(),
                                         (std::max<Index>)(1, elements / elements_per_task)});
  }

  Region region(const Traversal& traversal, Index which_block, Index slice) const {
    const Index values = traversal.values();
    // Quotient and remainder apart: slice * values could overflow.
    const auto cut = [&](Index s) {
      return s * (values / slices) + (std::min)(s, values % slices);
    };
    return {which_block * block, (std::min)(traversal.channels, (which_block + 1) * block),
            cut(slice), cut(slice + 1)};
  }
};

/// What joining b to a needs of their counts, computed once for all channels. `share` is
/// n_b / (n_a + n_b), which is exactly 1 or 0 when one of them is empty.
template <class A>
struct MergeWeights {
  A share;    ///< n_b / n
  A product;  ///< n_a n_b / n

  MergeWeights(Index count_a, Index count_b)
      : share(detail::from_index<A>(count_b) / detail::from_index<A>(count_a + count_b)),
        product(detail::from_index<A>(count_a) * share) {}
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_PARTITION_HPP
