// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_GRADIENT_SCAN_HPP
#define BATCHNORM_KERNELS_GRADIENT_SCAN_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/half.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/join_results.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// In which channels masked outputs have gradients. Mostly in none, and then nothing more is read of
// what is masked.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Some of a range of channels.
class FoundChannels {
 public:
  explicit FoundChannels(Index channels) : found_(static_cast<std::size_t>(channels)) {}

  /// Threads may set different channels.
  void set(Index channel) { found_[static_cast<std::size_t>(channel)] = 1; }
  bool has(Index channel) const { return found_[static_cast<std::size_t>(channel)] != 0; }
  bool any() const { return std::find(found_.begin(), found_.end(), 1) != found_.end(); }
  bool all() const { return std::find(found_.begin(), found_.end(), 0) == found_.end(); }

 private:
  std::vector<unsigned char> found_;
};

/// Bits that are or-ed together without branches: of numbers whose highest bit is their sign.
template <class T, bool = std::is_same<T, float>::value || std::is_same<T, double>::value ||
                          simd::is_16_bit<T>>
class AnyBits {
  using Word = std::uint64_t;

 public:
  void add(const T* at, Index count) {
    constexpr Index per_word = sizeof(Word) / sizeof(T);
    Word some[4] = {};
    Index i = 0;
    for (; i + 4 * per_word <= count; i += 4 * per_word) {
#pragma GCC unroll 4
      for (Index w = 0; w < 4; ++w) {
        Word word = 0;
        std::memcpy(&word, at + i + w * per_word, sizeof word);
        some[w] |= word;
      }
    }
    bits_ |= some[0] | some[1] | some[2] | some[3];
    for (; i < count; ++i) add(at[i]);
  }
  void add(const T& value) {
    Word bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits_ |= bits;
  }
  /// Whether any number was not 0. NaN is not 0.
  bool any() const {
    return (bits_ & ~signs()) != 0;
  }

 private:
  static constexpr Word signs() {
    return sizeof(T) == 8   ? 0x8000000000000000u
           : sizeof(T) == 4 ? 0x8000000080000000u
                            : 0x8000800080008000u;
  }
  Word bits_ = 0;
};

/// The same for other scalars.
template <class T>
class AnyBits<T, false> {
 public:
  void add(const T* at, Index count) {
    for (Index i = 0; i < count; ++i) add(at[i]);
  }
  void add(const T& value) { any_ = any_ || !(value <= T(0) && value >= T(0)); }
  bool any() const { return any_; }

 private:
  bool any_ = false;
};

/// Looks for elements that are not 0 among the values of a list, of some channels of one operand.
template <class T>
class GradientScan {
 public:
  GradientScan(const ListLayout& layout, std::size_t operand, const T* data,
               const ChannelRange& channels)
      : list_(layout),
        operand_(operand),
        layout_(layout.of(operand)),
        at_(data + channels.first * layout_.column_stride),
        channels_(channels.count()) {}

  /// The channels that have one. All are looked through together first: mostly there is none.
  static FoundChannels find(const Execution& execution, const ListLayout& layout,
                            std::size_t operand, const T* data, const ChannelRange& channels) {
    FoundChannels found(channels.count());
    if (!GradientScan(layout, operand, data, channels).any(execution)) return found;
    execution.for_each(channels.count(), [&](Index channel) {
      const Index at = channels.first + channel;
      if (GradientScan(layout, operand, data, {at, at + 1}).any(Execution::serial())) {
        found.set(channel);
      }
    });
    return found;
  }

  bool any(const Execution& execution) const {
    std::atomic<bool> found{false};
    if constexpr (has_bit_vectors<T> && simd::has_vectors) {
      if (list_.has_bits()) {
        const PlaceBits& bits = list_.list().bits();
        for_parts(execution, list_.places() / bits.places(), bits.places() * channels_,
                  [&](Index begin, Index end) {
                    for (Index row = begin; row < end; ++row) {
                      if (found.load(std::memory_order_relaxed)) return;
                      if (any_chosen(bits, row)) found.store(true, std::memory_order_relaxed);
                    }
                  });
        return found.load(std::memory_order_relaxed);
      }
    }
    for_parts(execution, list_.list().count(), channels_, [&](Index begin, Index end) {
      if (found.load(std::memory_order_relaxed)) return;
      if (any_in(begin, end)) found.store(true, std::memory_order_relaxed);
    });
    return found.load(std::memory_order_relaxed);
  }

 private:
  /// Values of a channel.
  static constexpr Index between_looks = 4096;

  /// In a row of places whose bits choose.
  bool any_chosen(const PlaceBits& bits, Index row) const {
    const InstructionSet set = usable_instruction_set(InstructionSet::avx2);
    const std::uint8_t* const row_bits = bits.data() + row * bits.row_bytes();
    bool found = false;
    for (Index c = 0; c < channels_ && !found; ++c) {
      const T* const at = at_ + c * layout_.column_stride + row * layout_.outer_stride;
      for (Index place = 0; place < bits.places() && !found; place += packed_elements) {
        const Index count = (std::min)(packed_elements, bits.places() - place);
        if (channels_ == 1) prefetch_next_row(at + place, count);
        run_for_masks<SearchKernel<T>>(
            set, {at + place, row_bits + place / PlaceBits::per_byte, count, &found});
      }
    }
    return found;
  }
  void prefetch_next_row(const T* at, Index count) const {
    for (Index n = 0; n < count; n += cache_line_bytes / static_cast<Index>(sizeof(T))) {
      prefetch_line(at + n, layout_.outer_stride);
    }
  }

  bool any_in(Index begin, Index end) const {
    AnyBits<T> bits;
    if (list_.list().is_fragmented() && !list_.is_along_channels()) {
      ListLine line(list_);
      T values[ListLine::capacity];
      for (Index rank = begin; rank < end && !bits.any(); rank += line.length()) {
        line.locate(rank, (std::min)(packed_elements, end - rank));
        for (Index c = 0; c < channels_ && !bits.any(); ++c) {
          line.copy(operand_, at_ + c * layout_.column_stride, values);
          bits.add(values, line.length());
        }
      }
      return bits.any();
    }
    Pieces pieces(list_);
    for (Index rank = begin; rank < end && !bits.any();) {
      const Piece piece = pieces.at(rank);
      const Index length = (std::min)({piece.length, end - rank, between_looks});
      rank += length;
      if (rank < end) prefetch(pieces.at(rank));
      add_piece(bits, at_ + list_.offset(operand_, piece.place), length);
    }
    return bits.any();
  }

  /// One channel's next piece, which does not follow in memory.
  void prefetch(const Piece& piece) const {
    if (channels_ > 1) return;
    const Index bytes = (std::min)(piece.length * static_cast<Index>(sizeof(T)), prefetch_bytes);
    const Index step = cache_line_bytes / static_cast<Index>(sizeof(T));
    const T* const at = at_ + list_.offset(operand_, piece.place);
    for (Index i = 0; i < bytes / static_cast<Index>(sizeof(T)); i += step) prefetch_line(at, i);
  }

  void add_piece(AnyBits<T>& bits, const T* at, Index length) const {
    const Index across = layout_.column_stride;
    const Index along = layout_.inner_stride;
    if (across == 1 && along == channels_) {
      bits.add(at, length * channels_);
    } else if (across == 1) {
      for (Index n = 0; n < length; ++n) bits.add(at + n * along, channels_);
    } else if (along == 1) {
      for (Index c = 0; c < channels_; ++c) bits.add(at + c * across, length);
    } else {
      for (Index n = 0; n < length; ++n) {
        for (Index c = 0; c < channels_; ++c) bits.add(at[n * along + c * across]);
      }
    }
  }

  const ListLayout& list_;
  std::size_t operand_;
  const Layout& layout_;
  const T* at_;
  Index channels_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_GRADIENT_SCAN_HPP
