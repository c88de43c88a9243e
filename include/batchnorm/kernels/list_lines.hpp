// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LIST_LINES_HPP
#define BATCHNORM_KERNELS_LIST_LINES_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"

// From ranks in a list to places in memory.

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
    const bool fragmented = list.intervals() * min_interval > list.count();
    if (fragmented && !is_along_channels()) remember_offsets();
  }

  const ValueList& list() const { return list_; }
  /// Of all values of a fragmented list, for any channel; null where intervals are long enough to
  /// be copied one by one.
  const Index* offsets(std::size_t operand) const {
    return offsets_.empty() ? nullptr : offsets_.data() + first_offset_[operand];
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
  static constexpr Index min_interval = 16;

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
};

/// Some values of a list, of one channel after the other: copied from where they lie, and back.
class ListLine {
 public:
  /// A line has at most so many values.
  static constexpr Index capacity = packed_elements + margin;

  explicit ListLine(const ListLayout& layout) : pieces_(layout), layout_(layout) {}

  /// The values of the ranks [rank, rank + length).
  void locate(Index rank, Index length) {
    rank_ = rank;
    length_ = length;
    count_ = 0;
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

  /// The same for a constant.
  template <class T>
  void fill(std::size_t operand, T* strided, const T& value) const {
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
  Index rank_ = 0;
  Index length_ = 0;
  Index count_ = 0;  ///< of pieces; 0 where there are offsets
  Piece some_[capacity];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LIST_LINES_HPP
