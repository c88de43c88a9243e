// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_ALIGNED_TABLES_HPP
#define BATCHNORM_KERNELS_ALIGNED_TABLES_HPP

#include <Eigen/Core>
#include <cstddef>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// `Count` tables of one number per channel. With Channels fixed they lie inside their owner, where
/// nothing is said about alignment, as in ChannelVector.
template <class C, int Channels, int Count>
class AlignedTables {
 public:
  AlignedTables() = default;
  explicit AlignedTables(Index) {}

  static Index channels() { return Channels; }
  C* operator[](int table) { return numbers_.col(table).data(); }
  const C* operator[](int table) const { return numbers_.col(table).data(); }

 private:
  ChannelTables<C, Channels, Count> numbers_;
};

/// On the heap each begins with a cache line: Eigen aligns to 16 bytes, and half of the longer
/// vectors would be loaded from two lines, which made one example of 512 channels a sixth slower
/// (`cmake -P cmake/benchmark.cmake --filter="nc 1x512"`). One line between two tables keeps their
/// distance from being a power of two.
template <class C, int Count>
class AlignedTables<C, Eigen::Dynamic, Count> {
 public:
  AlignedTables() = default;
  explicit AlignedTables(Index channels)
      : lines_(static_cast<std::size_t>(Count * lines_of(channels))), channels_(channels) {}

  /// 0 where there are none: made so, or moved from.
  Index channels() const { return lines_.empty() ? 0 : channels_; }
  C* operator[](int table) { return reinterpret_cast<C*>(lines_.data() + first_line(table)); }
  const C* operator[](int table) const {
    return reinterpret_cast<const C*>(lines_.data() + first_line(table));
  }

 private:
  static constexpr Index per_line =
      sizeof(C) < cache_line_bytes ? cache_line_bytes / static_cast<Index>(sizeof(C)) : 1;
  struct alignas(cache_line_bytes) Line {
    C numbers[static_cast<std::size_t>(per_line)];
  };

  static Index lines_of(Index channels) { return (channels + per_line - 1) / per_line + 1; }
  std::size_t first_line(int table) const {
    return static_cast<std::size_t>(table * lines_of(channels_));
  }

  std::vector<Line> lines_;
  Index channels_ = 0;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_ALIGNED_TABLES_HPP
