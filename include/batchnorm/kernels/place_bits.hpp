// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_PLACE_BITS_HPP
#define BATCHNORM_KERNELS_PLACE_BITS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Lists whose intervals are short, as one bit per place: values are then found eight places at a
// time, without a branch on each.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Which places of a list's rows are on it. A row begins with a byte of its own; the lowest bit of
/// a byte is its first place.
class PlaceBits {
 public:
  static constexpr Index per_byte = 8;

  /// @param places  of a row
  void reset(Index rows, Index places) {
    places_ = places;
    row_bytes_ = (places + per_byte - 1) / per_byte;
    bits_.assign(static_cast<std::size_t>(rows * row_bytes_), 0);
  }
  bool empty() const { return bits_.empty(); }
  /// The places [first, last) of a row.
  void set(Index row, Index first, Index last) {
    std::uint8_t* const bits = bits_.data() + row * row_bytes_;
    for (Index place = first; place < last;) {
      const Index byte = place / per_byte;
      const Index end = (std::min)(last, (byte + 1) * per_byte);
      const unsigned some = ((1u << (end - place)) - 1u) << (place - byte * per_byte);
      bits[byte] = static_cast<std::uint8_t>(bits[byte] | some);
      place = end;
    }
  }
  /// After the last place.
  void count() {
    ranks_.reserve(bits_.size() + 1);
    Index rank = 0;
    for (const std::uint8_t bits : bits_) {
      ranks_.push_back(rank);
      rank += count_of(bits);
    }
    ranks_.push_back(rank);
  }

  Index places() const { return places_; }
  Index bytes() const { return static_cast<Index>(bits_.size()); }
  Index row_bytes() const { return row_bytes_; }
  /// Of the last byte of a row, which may have fewer.
  Index last_places() const { return places_ - (row_bytes_ - 1) * per_byte; }
  const std::uint8_t* data() const { return bits_.data(); }
  unsigned bits(Index byte) const { return bits_[static_cast<std::size_t>(byte)]; }
  /// How many values come before a byte.
  Index rank(Index byte) const { return ranks_[static_cast<std::size_t>(byte)]; }
  /// The byte that the value of a rank lies in.
  Index byte_of(Index rank) const {
    return static_cast<Index>(std::upper_bound(ranks_.begin(), ranks_.end(), rank) -
                              ranks_.begin()) -
           1;
  }

  static constexpr Index count_of(unsigned bits) {
    bits -= (bits >> 1) & 0x55;
    bits = (bits & 0x33) + ((bits >> 2) & 0x33);
    return static_cast<Index>((bits + (bits >> 4)) & 0x0f);
  }

 private:
  Index places_ = 0;
  Index row_bytes_ = 0;
  std::vector<std::uint8_t> bits_;
  std::vector<Index> ranks_;
};

/// The number of the lowest bit that is set.
inline Index lowest_bit(unsigned bits) {
#if defined(__GNUC__)
  return __builtin_ctz(bits);
#else
  Index bit = 0;
  while ((bits >> bit & 1u) == 0) ++bit;
  return bit;
#endif
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_PLACE_BITS_HPP
