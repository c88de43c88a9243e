// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DISTRIBUTED_SHARE_TREE_HPP
#define BATCHNORM_DISTRIBUTED_SHARE_TREE_HPP

#include <algorithm>
#include <cstddef>
#include <vector>

#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/merge_moments.hpp"
#include "batchnorm/version.hpp"

// One binary tree over numbered leaves 0, 1, 2 ...: leaves 2k and 2k + 1 have one parent, and so
// on. What is merged with what depends on the numbers of the leaves alone, not on which rank has
// them. A rank with the leaves [begin, end) can merge those below every node that it has wholly:
// at most two nodes of each size, which are what it tells the others.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The node above the leaves [first, first + size), size a power of two that divides first.
struct ShareNode {
  Index first;
  Index size;
};

/// The nodes that [begin, end) is made of, as few as can be, from left to right.
inline std::vector<ShareNode> nodes_of(Index begin, Index end) {
  std::vector<ShareNode> nodes;
  while (begin < end) {
    Index size = 1;
    while (begin % (2 * size) == 0 && size <= (end - begin) / 2) size *= 2;
    nodes.push_back({begin, size});
    begin += size;
  }
  return nodes;
}

/// A ChannelShare as numbers in a row: count, weight, squared weight, then those of the channels.
/// Counts are exact up to 2^53.
inline Index share_length(Index channels) {
  return 3 + 2 * channels;
}

inline void share_to_numbers(const ChannelShare& share, double* to) {
  to[0] = static_cast<double>(share.count);
  to[1] = share.weight;
  to[2] = share.squared_weight;
}

inline void numbers_to_share(const double* numbers, Index channels, ChannelShare& to) {
  to.count = static_cast<Index>(numbers[0]);
  to.weight = numbers[1];
  to.squared_weight = numbers[2];
  if (to.first == nullptr) return;
  std::copy(numbers + 3, numbers + 3 + channels, to.first);
  std::copy(numbers + 3 + channels, numbers + 3 + 2 * channels, to.second);
}

/// Merges one share into another. With those of nothing it is exact.
///
/// @param moments  they are moments; otherwise sums, which are added: those of values that do not
///                 count may have gradients
inline void merge_shares(bool moments, Index channels, double* to, const double* other) {
  if (moments && !(other[0] > 0.0)) return;
  if (moments && !(to[0] > 0.0)) {
    std::copy(other, other + share_length(channels), to);
    return;
  }
  double* const first = to + 3;
  double* const second = first + channels;
  const double* const other_first = other + 3;
  const double* const other_second = other_first + channels;
  if (moments) {
    const SymmetricMerge<double> join(to[1], other[1], to[1] + other[1]);
    for (Index i = 0; i < channels; ++i) join(first[i], second[i], other_first[i], other_second[i]);
  } else {
    for (Index i = 0; i < 2 * channels; ++i) first[i] += other_first[i];
  }
  for (int i = 0; i < 3; ++i) to[i] += other[i];
}

/// Merges nodes that come from left to right. What is left are the fewest nodes that the leaves are
/// made of.
class ShareTree {
 public:
  ShareTree(bool moments, Index channels) : moments_(moments), channels_(channels) {}

  const std::vector<ShareNode>& nodes() const { return nodes_; }
  /// The numbers of all nodes, one after the other.
  const double* numbers() const { return numbers_.data(); }

  void add(ShareNode node, const double* numbers) {
    if (!nodes_.empty() && are_siblings(nodes_.back(), node)) {
      merge_shares(moments_, channels_, last(1), numbers);
      nodes_.back().size *= 2;
    } else {
      nodes_.push_back(node);
      numbers_.resize(nodes_.size() * length());
      std::copy(numbers, numbers + length(), last(1));
    }
    while (nodes_.size() > 1 && are_siblings(*(nodes_.end() - 2), nodes_.back())) {
      join_last();
      nodes_.back().size *= 2;
    }
  }

  /// The root: nodes whose siblings are missing go up alone. All zeros where nothing was added.
  const double* finish() {
    while (nodes_.size() > 1) join_last();
    if (nodes_.empty()) numbers_.resize(length(), 0.0);
    return numbers_.data();
  }

 private:
  static bool are_siblings(const ShareNode& left, const ShareNode& right) {
    return left.size == right.size && left.first % (2 * left.size) == 0 &&
           right.first == left.first + left.size;
  }
  double* last(std::size_t from_end) {
    return numbers_.data() + (nodes_.size() - from_end) * length();
  }
  std::size_t length() const { return static_cast<std::size_t>(share_length(channels_)); }

  void join_last() {
    merge_shares(moments_, channels_, last(2), last(1));
    nodes_.pop_back();
    numbers_.resize(nodes_.size() * length());
  }

  bool moments_;
  Index channels_;
  std::vector<ShareNode> nodes_;
  std::vector<double> numbers_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DISTRIBUTED_SHARE_TREE_HPP
