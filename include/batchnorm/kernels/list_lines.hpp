// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LIST_LINES_HPP
#define BATCHNORM_KERNELS_LIST_LINES_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"

// From ranks in a list to places in memory.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Where places lie in the operands of a loop. Places are counted along one axis where all operands
/// step evenly over samples and positions.
class PlaceLayout {
 public:
  PlaceLayout(const ViewShape* outputs, std::size_t output_count, const ViewShape* inputs,
              std::size_t input_count)
      : count_(output_count + input_count) {
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
  }

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
  std::array<Layout, max_operands> layouts_;
  std::size_t count_;
  Index inner_ = 0;
  Index total_ = 0;
};

/// Neighbouring places on one axis.
struct Piece {
  Index place;
  Index length;
};

/// Cuts a list into pieces. Remembers where it was: ranks are asked for in their order, mostly.
class Pieces {
 public:
  Pieces(const ValueList& list, const PlaceLayout& layout) : list_(list), layout_(layout) {}

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

 private:
  void find(Index rank) {
    const Index next = interval_ + 1;
    const bool in_next =
        next < list_.intervals() && rank >= list_.rank(next) && rank < list_.rank(next + 1);
    interval_ = in_next ? next : list_.interval_of(rank);
  }

  const ValueList& list_;
  const PlaceLayout& layout_;
  Index interval_ = 0;
};

/// Some values of a list, of one channel after the other: copied from where they lie, and back.
class ListLine {
 public:
  /// A line has at most so many values.
  static constexpr Index capacity = packed_elements + margin;

  ListLine(const ValueList& list, const PlaceLayout& layout)
      : pieces_(list, layout), layout_(layout) {}

  /// The values of the ranks [rank, rank + length).
  void locate(Index rank, Index length) {
    length_ = length;
    count_ = 0;
    for (Index i = 0; i < length; i += some_[count_++].length) {
      Piece piece = pieces_.at(rank + i);
      piece.length = (std::min)(piece.length, length - i);
      some_[count_] = piece;
    }
    in_offsets_ = 16 * count_ > length_;
    located_ = nullptr;
  }

  Index length() const { return length_; }
  bool is_one_piece() const { return count_ == 1; }
  Index place() const { return some_[0].place; }

  /// Copies the line of an operand, whose first element of the channel is `strided`: to whichever
  /// of both is not const.
  template <class Strided, class Packed>
  void copy(std::size_t operand, Strided* strided, Packed* packed) {
    if (in_offsets_) return copy_one_by_one(operand, strided, packed);
    const Index step = layout_.of(operand).inner_stride;
    for (Index i = 0; i < count_; ++i) {
      Strided* const at = strided + layout_.offset(operand, some_[i].place);
      copy_piece(at, packed, step, some_[i].length);
      packed += some_[i].length;
    }
  }

  /// The same for a constant.
  template <class T>
  void fill(std::size_t operand, T* strided, const T& value) const {
    const Index step = layout_.of(operand).inner_stride;
    for (Index i = 0; i < count_; ++i) {
      T* const at = strided + layout_.offset(operand, some_[i].place);
      for (Index n = 0; n < some_[i].length; ++n) at[n * step] = value;
    }
  }

 private:
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

  /// Short pieces: their offsets are the same for all channels.
  template <class Strided, class Packed>
  void copy_one_by_one(std::size_t operand, Strided* strided, Packed* packed) {
    const Layout& layout = layout_.of(operand);
    if (located_ == nullptr || located_->outer_stride != layout.outer_stride ||
        located_->inner_stride != layout.inner_stride) {
      located_ = &layout;
      const Index step = layout.inner_stride;
      Index* to = offsets_;
      for (Index i = 0; i < count_; ++i) {
        Index offset = layout_.offset(operand, some_[i].place);
        for (Index n = 0; n < some_[i].length; ++n, offset += step) *to++ = offset;
      }
    }
    for (Index n = 0; n < length_; ++n) move(strided[offsets_[n]], packed[n]);
  }

  Pieces pieces_;
  const PlaceLayout& layout_;
  Index length_ = 0;
  Index count_ = 0;
  bool in_offsets_ = false;
  const Layout* located_ = nullptr;  ///< whose offsets these are
  Piece some_[capacity];
  Index offsets_[capacity];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LIST_LINES_HPP
