// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_TRAVERSAL_HPP
#define BATCHNORM_LOOPS_TRAVERSAL_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The one place that knows memory layouts. Samples and positions mean the same to every formula:
// they count the values of a channel. So an array has two kinds of axes, channels and values, and
// there are two ways to walk it in vectors:
//
//   runs   along the values of one channel: NCHW, features x examples stored by rows
//   rows   along neighbouring elements of several channels: NHWC, features x examples by columns
//
// Two layouts become rows although no axis of theirs makes good ones. Short runs that follow one
// another in memory (NCHW with planes of 3 x 3) are one row per sample, in which each channel
// repeats itself. Few channels in the last place (NHWC with 3 of them) are rows of many positions,
// through which the channels cycle.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// How the operands of one loop are walked together: their common shape as columns, which are the
/// channels or what lies in a row, and rows, which are split into an outer and an inner axis.
/// Depends on shape and strides only, so that results do too.
struct Traversal {
  Index channels = 0;
  Index columns = 0;
  Index outer = 0;
  Index inner = 0;
  Index repeat = 1;      ///< columns in a row that are of one channel
  Index last_width = 0;  ///< columns of the very last row
  bool along_rows = false;

  Index rows() const { return outer * inner; }
  /// Whether vectors of 64 bytes pay: on rows of some of them, and on runs of elements that are
  /// converted. Measured: other runs gain next to nothing, and short ones, planes of 28 x 28, lose
  /// a tenth to what is left at their ends.
  bool suits_long_vectors(std::size_t computed_bytes, bool converted) const {
    if (!along_rows) return converted && inner >= 32;
    return columns * static_cast<Index>(computed_bytes) >= 256;
  }
  Index elements() const { return rows() * columns - (columns - last_width); }
  Index channel_of(Index column) const {
    return repeat * channels == columns ? column / repeat : column % channels;
  }
  /// Whether a channel comes back in the same row.
  bool cycles() const { return columns > repeat * channels; }
};

/// Where the elements of one operand are, relative to its first, in the terms of a traversal.
struct Layout {
  Index column_stride;
  Index outer_stride;
  Index inner_stride;

  Index offset(Index column, Index outer, Index inner) const {
    return column * column_stride + outer * outer_stride + inner * inner_stride;
  }
};

/// Below this many channels a vector across them is mostly empty, and strided reads along the
/// values are the better way.
inline constexpr Index fewest_channels_across = 4;

/// Runs of up to this many elements become rows where they can, and rows of fewer than
/// `short_row` elements longer ones of up to `long_row`.
inline constexpr Index short_run = 15;
inline constexpr Index fewest_runs = 8;
inline constexpr Index short_row = 33;
inline constexpr Index long_row = 256;

/// Whether runs are so short that reading one channel's means jumping through memory: all channels'
/// runs are better read in the order in which they usually lie.
inline bool has_short_runs(const Traversal& traversal) {
  return !traversal.along_rows && traversal.inner < 256;
}

/// The traversal of some views of one shape, and the layout of each in the order given.
template <std::size_t Count>
class Plan {
 public:
  template <class Lead, class... Others>
  explicit Plan(const BatchView<Lead>& lead, const BatchView<Others>&... others) {
    static_assert(1 + sizeof...(Others) == Count, "one layout per view");
    const bool swap = outer_is_position(lead);
    traversal_.channels = traversal_.columns = traversal_.last_width = lead.channels();
    traversal_.outer = swap ? lead.positions() : lead.samples();
    traversal_.inner = swap ? lead.samples() : lead.positions();
    layouts_ = {layout(lead, swap), layout(others, swap)...};
    merge_values();
    choose_direction();
    if (traversal_.along_rows) {
      lengthen_rows();
    } else {
      line_up_runs();
    }
  }

  const Traversal& traversal() const { return traversal_; }
  const std::array<Layout, Count>& layouts() const { return layouts_; }

  /// Where the operands [First, First + N), whose first elements are given, have an element.
  template <std::size_t First, class T, std::size_t N>
  [[gnu::always_inline]] std::array<T*, N> locate(const std::array<T*, N>& data, Index column,
                                                  Index outer, Index inner) const {
    std::array<T*, N> at;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) {
      at[i] = data[i] + layouts_[First + i].offset(column, outer, inner);
    }
    return at;
  }

  /// The steps of the operands [First, First + N) along one axis.
  template <std::size_t First, std::size_t N>
  [[gnu::always_inline]] std::array<Index, N> steps(Index Layout::*axis) const {
    std::array<Index, N> step;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) step[i] = layouts_[First + i].*axis;
    return step;
  }

  /// Whether every operand steps by one element along the axis that the vectors lie on.
  bool contiguous() const {
    return all([this](const Layout& each) {
      return (traversal_.along_rows ? each.column_stride : each.inner_stride) == 1;
    });
  }

  /// Whether the runs of one channel after the other follow without gaps.
  bool lined_up() const {
    return !traversal_.along_rows && all([this](const Layout& each) {
      return each.inner_stride == 1 && each.column_stride == traversal_.inner;
    });
  }

 private:
  template <class Condition>
  bool all(const Condition& condition) const {
    bool every = true;
    for (const Layout& each : layouts_) every = every && condition(each);
    return every;
  }

  static Index size_of_step(Index stride) {
    return stride < 0 ? -stride : stride;
  }

  template <class T>
  static bool outer_is_position(const BatchView<T>& view) {
    if (view.samples() == 1 || view.positions() == 1) return view.positions() == 1;
    return size_of_step(view.position_stride()) > size_of_step(view.sample_stride());
  }

  template <class T>
  static Layout layout(const BatchView<T>& view, bool swap) {
    return {view.channel_stride(), swap ? view.position_stride() : view.sample_stride(),
            swap ? view.sample_stride() : view.position_stride()};
  }

  /// Two value axes become one where every operand steps evenly over both.
  void merge_values() {
    const Index inner = traversal_.inner;
    const bool even =
        all([&](const Layout& each) { return each.outer_stride == inner * each.inner_stride; });
    if (traversal_.outer == 1 || !even) return;
    traversal_.inner = traversal_.outer * inner;
    traversal_.outer = 1;
  }

  /// The direction in which most operands are contiguous; the narrower steps of the first one
  /// where that decides nothing.
  void choose_direction() {
    if (traversal_.channels == 1 || traversal_.inner == 1) {
      traversal_.along_rows = traversal_.channels > 1;
      return;
    }
    Index along = 0;
    Index across = 0;
    for (const Layout& each : layouts_) {
      along += each.inner_stride == 1 ? 1 : 0;
      across += each.column_stride == 1 ? 1 : 0;
    }
    const Layout& lead = layouts_.front();
    const bool narrower = size_of_step(lead.column_stride) < size_of_step(lead.inner_stride);
    const bool preferred = along == across ? narrower : across > along;
    traversal_.along_rows =
        preferred && (traversal_.channels >= fewest_channels_across || dense_rows());
  }

  /// Whether rows follow one another without gaps, in every operand.
  bool dense_rows() const {
    return traversal_.outer == 1 && all([this](const Layout& each) {
             return each.column_stride == 1 && each.inner_stride == traversal_.channels;
           });
  }

  /// Rows of few channels, joined: the channels cycle through each.
  void lengthen_rows() {
    const Index channels = traversal_.channels;
    if (channels >= short_row) return;
    const Index joined = long_row / channels / 8 * 8;
    if (traversal_.inner < joined || !dense_rows()) return;
    const Index rows = traversal_.inner;
    traversal_.columns = joined * channels;
    traversal_.inner = (rows + joined - 1) / joined;
    traversal_.last_width = (rows - (traversal_.inner - 1) * joined) * channels;
    for (Layout& each : layouts_) each.inner_stride = traversal_.columns;
  }

  /// Short runs of one channel after the other, as one row: each channel repeats itself.
  void line_up_runs() {
    const Index run = traversal_.inner;
    if (!lined_up() || run > short_run || traversal_.channels == 1 ||
        traversal_.outer < fewest_runs) {
      return;
    }
    traversal_.along_rows = true;
    traversal_.repeat = run;
    traversal_.columns = traversal_.last_width = traversal_.channels * run;
    traversal_.inner = traversal_.outer;
    traversal_.outer = 1;
    for (Layout& each : layouts_) {
      each.column_stride = 1;
      each.inner_stride = each.outer_stride;
    }
  }

  Traversal traversal_;
  std::array<Layout, Count> layouts_;
};

/// Cuts the rows [begin, end) into the runs that lie on one inner axis each:
/// `for (Runs run(traversal, begin, end); run.more(); run.next())`.
class Runs {
 public:
  [[gnu::always_inline]] Runs(const Traversal& traversal, Index begin, Index end)
      : inner_size_(traversal.inner),
        left_(end - begin),
        outer_(traversal.outer == 1 ? 0 : begin / traversal.inner),
        inner_(begin - outer_ * traversal.inner),
        length_((std::min)(inner_size_ - inner_, left_)) {}

  [[gnu::always_inline]] bool more() const { return left_ > 0; }
  [[gnu::always_inline]] void next() {
    left_ -= length_;
    ++outer_;
    inner_ = 0;
    length_ = (std::min)(inner_size_, left_);
  }

  Index outer() const { return outer_; }
  Index inner() const { return inner_; }
  Index length() const { return length_; }

 private:
  Index inner_size_;
  Index left_;
  Index outer_;
  Index inner_;
  Index length_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_TRAVERSAL_HPP
