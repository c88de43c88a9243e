// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_TRAVERSAL_HPP
#define BATCHNORM_KERNELS_TRAVERSAL_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/tuning.hpp"
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
namespace detail {

/// How the operands of one loop are walked together: their common shape as columns, which are the
/// channels or what lies in a row, and rows, which are split into an outer and an inner axis.
/// Depends on shape and strides only, so that results do too.
struct Traversal {
  Index channels = 0;
  Index columns = 0;
  Index outer = 0;
  Index inner = 0;
  Index columns_per_channel = 1;  ///< neighbouring columns of a row that are of one channel
  Index last_width = 0;           ///< columns of the very last row
  bool along_rows = false;

  Index rows() const { return outer * inner; }
  Index elements() const { return rows() * columns - (columns - last_width); }
  Index channel_of(Index column) const {
    return columns_per_channel * channels == columns ? column / columns_per_channel
                                                     : column % channels;
  }
  /// Whether channels repeat along a row: few channels, many positions.
  bool channels_wrap() const { return columns > columns_per_channel * channels; }
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

/// Whether runs are so short that reading them channel by channel would jump through memory.
inline bool has_short_runs(const Traversal& traversal) {
  return !traversal.along_rows && traversal.inner < min_long_run;
}

inline constexpr std::size_t max_operands = max_inputs + max_outputs;

/// The traversal of some views of one shape, and the layout of each in the order given.
class Plan {
 public:
  Plan(const ViewShape* outputs, std::size_t output_count, const ViewShape* inputs,
       std::size_t input_count)
      : count_(output_count + input_count) {
    const ViewShape& lead = output_count > 0 ? outputs[0] : inputs[0];
    const bool swap = outer_is_position(lead);
    traversal_.channels = traversal_.columns = traversal_.last_width = lead.channels;
    traversal_.outer = swap ? lead.positions : lead.samples;
    traversal_.inner = swap ? lead.samples : lead.positions;
    for (std::size_t i = 0; i < count_; ++i) {
      layouts_[i] = layout(i < output_count ? outputs[i] : inputs[i - output_count], swap);
    }
    merge_values();
    choose_direction();
    if (traversal_.along_rows) {
      lengthen_rows();
    } else {
      join_short_runs();
    }
  }

  const Traversal& traversal() const { return traversal_; }
  const Layout& layout(std::size_t operand) const { return layouts_[operand]; }

  /// Whether every operand steps by one element along the axis that the vectors lie on.
  bool contiguous() const {
    return all([this](const Layout& each) {
      return (traversal_.along_rows ? each.column_stride : each.inner_stride) == 1;
    });
  }

  /// Whether the runs of neighbouring channels follow one another without gaps.
  bool channels_packed() const {
    return !traversal_.along_rows && all([this](const Layout& each) {
      return each.inner_stride == 1 && each.column_stride == traversal_.inner;
    });
  }

 private:
  template <class Condition>
  bool all(const Condition& condition) const {
    bool every = true;
    for (std::size_t i = 0; i < count_; ++i) every = every && condition(layouts_[i]);
    return every;
  }

  static Index size_of_step(Index stride) { return stride < 0 ? -stride : stride; }

  static bool outer_is_position(const ViewShape& view) {
    if (view.samples == 1 || view.positions == 1) return view.positions == 1;
    return size_of_step(view.position_stride) > size_of_step(view.sample_stride);
  }

  static Layout layout(const ViewShape& view, bool swap) {
    return {view.channel_stride, swap ? view.position_stride : view.sample_stride,
            swap ? view.sample_stride : view.position_stride};
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
    for (std::size_t i = 0; i < count_; ++i) {
      const Layout& each = layouts_[i];
      along += each.inner_stride == 1 ? 1 : 0;
      across += each.column_stride == 1 ? 1 : 0;
    }
    const Layout& lead = layouts_.front();
    const bool narrower = size_of_step(lead.column_stride) < size_of_step(lead.inner_stride);
    const bool preferred = along == across ? narrower : across > along;
    traversal_.along_rows =
        preferred && (traversal_.channels >= min_channels_across || dense_rows());
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
    if (channels >= max_short_row) return;
    const Index joined = max_joined_row / channels / 8 * 8;
    if (traversal_.inner < joined || !dense_rows()) return;
    const Index rows = traversal_.inner;
    traversal_.columns = joined * channels;
    traversal_.inner = (rows + joined - 1) / joined;
    traversal_.last_width = (rows - (traversal_.inner - 1) * joined) * channels;
    for (std::size_t i = 0; i < count_; ++i) layouts_[i].inner_stride = traversal_.columns;
  }

  /// Short runs of one channel after the other, as one row: each channel repeats itself.
  void join_short_runs() {
    const Index run = traversal_.inner;
    if (!channels_packed() || run > max_short_run || traversal_.channels == 1 ||
        traversal_.outer < min_short_runs) {
      return;
    }
    traversal_.along_rows = true;
    traversal_.columns_per_channel = run;
    traversal_.columns = traversal_.last_width = traversal_.channels * run;
    traversal_.inner = traversal_.outer;
    traversal_.outer = 1;
    for (std::size_t i = 0; i < count_; ++i) {
      Layout& each = layouts_[i];
      each.column_stride = 1;
      each.inner_stride = each.outer_stride;
    }
  }

  Traversal traversal_;
  std::array<Layout, max_operands> layouts_;  ///< of count_ operands
  std::size_t count_;
};

/// Cuts the rows [begin, end) into the runs that lie on one inner axis each:
/// `for (Runs run(traversal, begin, end); run.more(); run.next())`.
class Runs {
 public:
  Runs(const Traversal& traversal, Index begin, Index end)
      : inner_size_(traversal.inner),
        left_(end - begin),
        outer_(traversal.outer == 1 ? 0 : begin / traversal.inner),
        inner_(begin - outer_ * traversal.inner),
        length_((std::min)(inner_size_ - inner_, left_)) {}

  bool more() const { return left_ > 0; }
  void next() {
    left_ -= length_;
    ++outer_;
    inner_ = 0;
    length_ = (std::min)(inner_size_, left_);
  }

  Index outer() const { return outer_; }
  Index inner() const { return inner_; }
  Index length() const { return length_; }
  bool whole() const { return length_ == inner_size_; }
  /// How many whole runs follow, this one included.
  Index whole_runs() const { return whole() ? left_ / inner_size_ : 0; }
  /// Passes over some whole runs.
  void skip(Index whole_runs) {
    for (; whole_runs > 1; --whole_runs) next();
  }

 private:
  Index inner_size_;
  Index left_;
  Index outer_;
  Index inner_;
  Index length_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_TRAVERSAL_HPP
