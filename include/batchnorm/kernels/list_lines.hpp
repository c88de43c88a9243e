// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LIST_LINES_HPP
#define BATCHNORM_KERNELS_LIST_LINES_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/compress.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"

// From ranks in a list to places in memory.
// Longer than most: pieces, offsets and bits are three ways to the same places.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Where the values of a list lie in the operands of a loop. Places are counted along one axis
/// where all operands step evenly over samples and positions.
class ListLayout {
 public:
  ListLayout(const ValueList& list, const ViewShape* outputs, std::size_t output_count,
             const ViewShape* inputs, std::size_t input_count)
      : list_(list), count_(output_count + input_count) {
    const ViewShape& lead = output_count > 0 ? outputs[0] : inputs[0];
    bool even = true;
    for (std::size_t i = 0; i < count_; ++i) {
      const ViewShape& each = i < output_count ? outputs[i] : inputs[i - output_count];
      even = even && each.sample_stride == each.positions * each.position_stride;
      layouts_[i] = lead.positions == 1
                        ? Layout{each.channel_stride, 0, each.sample_stride}
                        : Layout{each.channel_stride, each.sample_stride, each.position_stride};
    }
    inner_ = even || lead.positions == 1 ? lead.samples * lead.positions : lead.positions;
    total_ = lead.samples * lead.positions;
    if (list.is_fragmented() && !has_bits() && !is_along_channels()) remember_offsets();
  }

  const ValueList& list() const { return list_; }
  /// Whether values are found by the bits of the list.
  bool has_bits() const { return !list_.bits().empty() && is_along_values(); }
  /// Of all values of another fragmented list, for any channel; null where intervals are long
  /// enough to be copied one by one.
  const Index* offsets(std::size_t operand) const {
    return offsets_.empty() ? nullptr : offsets_.data() + first_offset_[operand];
  }

  /// Of all samples.
  Index places() const { return total_; }
  /// Places on one axis.
  Index inner() const { return inner_; }
  bool has_one_axis() const { return inner_ == total_; }
  const Layout& of(std::size_t operand) const { return layouts_[operand]; }
  Index offset(std::size_t operand, Index place) const {
    const Index outer = has_one_axis() ? 0 : place / inner_;
    return layouts_[operand].offset(0, outer, place - outer * inner_);
  }
  template <class Condition>
  bool all(const Condition& condition) const {
    return std::all_of(layouts_.begin(), layouts_.begin() + static_cast<std::ptrdiff_t>(count_),
                       condition);
  }
  bool is_along_values() const {
    return all([](const Layout& each) { return each.inner_stride == 1; });
  }
  bool is_along_channels() const {
    return all([](const Layout& each) { return each.column_stride == 1; });
  }

 private:
  /// Operands with the same steps share them.
  void remember_offsets() {
    const std::size_t values = static_cast<std::size_t>(list_.count());
    for (std::size_t i = 0; i < count_; ++i) {
      std::size_t like = 0;
      while (layouts_[like].outer_stride != layouts_[i].outer_stride ||
             layouts_[like].inner_stride != layouts_[i].inner_stride) {
        ++like;
      }
      first_offset_[i] = like < i ? first_offset_[like] : offsets_.size();
      if (like < i) continue;
      offsets_.reserve(offsets_.size() + values);
      for (Index interval = 0; interval < list_.intervals(); ++interval) {
        const Index length = list_.rank(interval + 1) - list_.rank(interval);
        for (Index n = 0; n < length; ++n) {
          offsets_.push_back(offset(i, list_.begin(interval) + n));
        }
      }
    }
  }

  const ValueList& list_;
  std::array<Layout, max_operands> layouts_;
  std::array<std::size_t, max_operands> first_offset_{};
  std::size_t count_;
  Index inner_ = 0;
  Index total_ = 0;
  std::vector<Index> offsets_;
};

/// Cuts a list for threads: body(first rank, end). An element's bits do not depend on it.
template <class Body>
void for_parts(const Execution& given, Index count, Index channels, const Body& body) {
  const Execution execution = given.for_elements(count * channels);
  const Index parts =
      (std::max<Index>)(1, (std::min)({16 * execution.threads(),
                                       count * channels / elements_per_task, count}));
  const auto cut = [&](Index part) {
    return part * (count / parts) + (std::min)(part, count % parts);
  };
  if (execution.threads() == 1) {
    body(0, count);
  } else {
    execution.for_each(parts, [&](Index part) { body(cut(part), cut(part + 1)); });
  }
}

/// The shape of a dense array of the values of a list, to be walked as the operands that they lie
/// in are: along channels or along values. Few channels of an array that is walked along values can
/// then be reduced alone (fused.hpp); rows in which channels come back cannot be cut.
inline ViewShape dense_shape(Index values, const Traversal& like) {
  ViewShape shape;
  shape.samples = 1;
  shape.channels = like.channels;
  shape.positions = values;
  const bool channels_last = like.along_rows &&
                             (like.channels_wrap() || like.columns_per_channel == 1) &&
                             like.channels > 1;
  shape.sample_stride = values * like.channels;
  shape.channel_stride = channels_last ? 1 : values;
  shape.position_stride = channels_last ? like.channels : 1;
  return shape;
}

/// Neighbouring places on one axis.
struct Piece {
  Index place;
  Index length;
};

/// Cuts a list into pieces. Remembers where it was: ranks are asked for in their order, mostly.
class Pieces {
 public:
  explicit Pieces(const ListLayout& layout) : list_(layout.list()), layout_(layout) {}

  /// The longest piece from a rank on.
  Piece at(Index rank) {
    if (rank < list_.rank(interval_) || rank >= list_.rank(interval_ + 1)) find(rank);
    const Index place = list_.begin(interval_) + rank - list_.rank(interval_);
    Index length = list_.rank(interval_ + 1) - rank;
    if (!layout_.has_one_axis()) {
      length = (std::min)(length, layout_.inner() - place % layout_.inner());
    }
    return {place, length};
  }

  /// The end of the row that a rank is in.
  Index row_end(Index rank) {
    if (rank >= list_.row_end(row_)) ++row_;
    if (rank < list_.row_end(row_ - 1) || rank >= list_.row_end(row_)) row_ = list_.row_of(rank);
    return list_.row_end(row_);
  }

 private:
  void find(Index rank) {
    const Index next = interval_ + 1;
    const bool in_next =
        next < list_.intervals() && rank >= list_.rank(next) && rank < list_.rank(next + 1);
    interval_ = in_next ? next : list_.interval_of(rank);
  }

  const ValueList& list_;
  const ListLayout& layout_;
  Index interval_ = 0;
  Index row_ = 0;
};

/// Some values of a list, of one channel after the other: copied from where they lie, and back.
class ListLine {
 public:
  /// A line has at most so many values; of packed ones some more are written.
  static constexpr Index capacity = packed_elements + margin;

  explicit ListLine(const ListLayout& layout)
      : pieces_(layout),
        layout_(layout),
        bits_(layout.has_bits() ? &layout.list().bits() : nullptr),
        set_(usable_instruction_set(InstructionSet::best)) {}

  /// The values of the ranks [rank, rank + length).
  void locate(Index rank, Index length) {
    rank_ = rank;
    length_ = length;
    count_ = 0;
    if (bits_ != nullptr) {
      const auto holds = [&](Index byte) {
        return byte < bits_->bytes() && rank >= bits_->rank(byte) && rank < bits_->rank(byte + 1);
      };
      // Mostly where the last line ended, or behind that.
      byte_ = (std::max<Index>)(1, last_byte_) - 1;
      if (!holds(byte_)) byte_ = holds(byte_ + 1) ? byte_ + 1 : bits_->byte_of(rank);
      last_byte_ = byte_ + 1;
      while (bits_->rank(last_byte_) < rank + length) ++last_byte_;
      return;
    }
    if (layout_.offsets(0) != nullptr) return;
    for (Index i = 0; i < length; i += some_[count_++].length) {
      Piece piece = pieces_.at(rank + i);
      piece.length = (std::min)(piece.length, length - i);
      some_[count_] = piece;
    }
  }

  Index length() const { return length_; }
  bool is_one_piece() const { return count_ == 1; }
  Index place() const { return some_[0].place; }

  /// Copies the line of an operand, whose first element of the channel is `strided`: to whichever
  /// of both is not const.
  template <class Strided, class Packed>
  void copy(std::size_t operand, Strided* strided, Packed* packed) const {
    if (bits_ != nullptr) {
      if constexpr (std::is_const<Strided>::value) {
        pack_values(layout_.of(operand), strided, packed, 0, 1);
      } else {
        for_values(layout_.of(operand),
                   [&](Index offset, Index n) { strided[offset] = packed[n]; });
      }
      return;
    }
    if (const Index* const offsets = layout_.offsets(operand)) {
      for (Index n = 0; n < length_; ++n) move(strided[offsets[rank_ + n]], packed[n]);
      return;
    }
    const Index step = layout_.of(operand).inner_stride;
    for (Index i = 0; i < count_; ++i) {
      Strided* const at = strided + layout_.offset(operand, some_[i].place);
      if (step == 1 && std::is_const<Strided>::value) prefetch_next(operand, at, some_[i].length);
      copy_piece(at, packed, step, some_[i].length);
      packed += some_[i].length;
    }
  }

  /// Whether pack_together() can be asked for the line.
  bool has_bits() const { return bits_ != nullptr; }
  /// Copies the line of lines_together neighbouring channels of an operand from where it lies.
  template <class T>
  void pack_together(std::size_t operand, const T* strided, T* packed, Index packed_step) const {
    pack_values(layout_.of(operand), strided, packed, packed_step, lines_together);
  }

  /// The same for a constant.
  template <class T>
  void fill(std::size_t operand, T* strided, const T& value) const {
    if (bits_ != nullptr) {
      for_values(layout_.of(operand), [&](Index offset, Index) { strided[offset] = value; });
      return;
    }
    if (const Index* const offsets = layout_.offsets(operand)) {
      for (Index n = 0; n < length_; ++n) strided[offsets[rank_ + n]] = value;
      return;
    }
    const Index step = layout_.of(operand).inner_stride;
    for (Index i = 0; i < count_; ++i) {
      T* const at = strided + layout_.offset(operand, some_[i].place);
      for (Index n = 0; n < some_[i].length; ++n) at[n * step] = value;
    }
  }

 private:
  /// body(offset of the first of some places of one row, their number, the first byte of their
  /// bits, how many values of the line come before them).
  template <class Body>
  void for_rows(const Layout& layout, const Body& body) const {
    const Index row_bytes = bits_->row_bytes();
    for (Index byte = byte_; byte < last_byte_;) {
      const Index row = byte / row_bytes;
      const Index end = (row + 1) * row_bytes;
      const Index last = (std::min)(end, last_byte_);
      const Index places = (last - byte) * PlaceBits::per_byte -
                           (last == end ? PlaceBits::per_byte - bits_->last_places() : 0);
      body(row * layout.outer_stride + (byte - row * row_bytes) * PlaceBits::per_byte, places, byte,
           bits_->rank(byte) - rank_);
      byte = last;
    }
  }
  /// body(offset, number in the line) for all values.
  template <class Body>
  void for_values(const Layout& layout, const Body& body) const {
    for_rows(layout, [&](Index offset, Index places, Index byte, Index done) {
      for (; places > 0; places -= PlaceBits::per_byte, offset += PlaceBits::per_byte) {
        for (unsigned bits = bits_->bits(byte++); bits != 0; bits &= bits - 1, ++done) {
          if (done >= 0 && done < length_) body(offset + lowest_bit(bits), done);
        }
      }
    });
  }
  template <class T>
  void pack_values(const Layout& layout, const T* strided, T* packed, Index packed_step,
                   Index lines) const {
    const Index step = layout.column_stride;
    for_rows(layout, [&](Index offset, Index places, Index byte, Index done) {
      const T* from = strided + offset;
      for (Index n = 0; n < places; n += cache_line_bytes / static_cast<Index>(sizeof(T))) {
        for (Index l = 0; l < lines; ++l) prefetch_line(from + l * step + n, layout.outer_stride);
      }
      if (done < 0) {
        // What the line before this one holds of its first byte.
        T first[PlaceBits::per_byte];
        const Index skipped = -done;
        const Index last = (std::min)(places, PlaceBits::per_byte);
        for (Index l = 0; l < lines; ++l) {
          pack_few(from + l * step, bits_->bits(byte), first);
          std::copy(first + skipped, first + PlaceBits::count_of(bits_->bits(byte)),
                    packed + l * packed_step);
        }
        done = bits_->rank(++byte) - rank_;
        from += last;
        places -= last;
      }
      const Index whole = places / PlaceBits::per_byte;
      compress(set_, from, step, bits_->data() + byte, whole, packed + done, packed_step, lines);
      if (places > whole * PlaceBits::per_byte) {
        byte += whole;
        for (Index l = 0; l < lines; ++l) {
          pack_few(from + l * step + whole * PlaceBits::per_byte, bits_->bits(byte),
                   packed + l * packed_step + bits_->rank(byte) - rank_);
        }
      }
    });
  }
  /// Reads nothing but the values.
  template <class T>
  static void pack_few(const T* from, unsigned bits, T* packed) {
    for (; bits != 0; bits &= bits - 1) *packed++ = from[lowest_bit(bits)];
  }

  template <class Strided, class Packed>
  static void copy_piece(Strided* strided, Packed* packed, Index step, Index length) {
    if (step == 1) {
      if constexpr (std::is_const<Strided>::value) {
        std::copy(strided, strided + length, packed);
      } else {
        std::copy(packed, packed + length, strided);
      }
      return;
    }
    for (Index n = 0; n < length; ++n) move(strided[n * step], packed[n]);
  }
  template <class A, class B>
  static void move(A& strided, B& packed) {
    if constexpr (std::is_const<A>::value) {
      packed = strided;
    } else {
      strided = packed;
    }
  }

  /// What lies at the same place of the next sample.
  template <class T>
  void prefetch_next(std::size_t operand, const T* at, Index length) const {
    if (layout_.has_one_axis()) return;
    for (Index n = 0; n < length; n += cache_line_bytes / static_cast<Index>(sizeof(T))) {
      prefetch_line(at + n, layout_.of(operand).outer_stride);
    }
  }

  Pieces pieces_;
  const ListLayout& layout_;
  const PlaceBits* bits_;
  InstructionSet set_;  ///< that copies: no bit depends on it
  Index byte_ = 0;      ///< of bits: the first one of the line
  Index last_byte_ = 0;
  Index rank_ = 0;
  Index length_ = 0;
  Index count_ = 0;  ///< of pieces; 0 where there are bits or offsets
  Piece some_[capacity];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LIST_LINES_HPP
