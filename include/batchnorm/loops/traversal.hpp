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
// there are two ways to walk it in vectors: along the values of one channel (NCHW, features x
// examples row-major) or across the channels of one value (NHWC, features x examples column-major).

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// How the operands of one loop are walked together: their common shape, values split into an outer
/// and an inner axis. Depends on shape and strides only, so that results do too.
struct Traversal {
  Index channels = 0;
  Index outer = 0;
  Index inner = 0;
  bool across_channels = false;

  /// n: how many values a channel has; they are numbered outer axis first.
  Index values() const { return outer * inner; }
};

/// Where the elements of one operand are, relative to its first, in the terms of a traversal.
struct Layout {
  Index channel_stride;
  Index outer_stride;
  Index inner_stride;

  Index offset(Index channel, Index outer, Index inner) const {
    return channel * channel_stride + outer * outer_stride + inner * inner_stride;
  }
};

/// Below this many channels a vector across them is mostly empty, and strided reads along the
/// values are the better way.
inline constexpr Index fewest_channels_across = 4;

/// The traversal of some views of one shape, and the layout of each in the order given.
template <std::size_t Count>
class Plan {
 public:
  template <class Lead, class... Others>
  explicit Plan(const BatchView<Lead>& lead, const BatchView<Others>&... others) {
    static_assert(1 + sizeof...(Others) == Count, "one layout per view");
    const bool swap = outer_is_position(lead);
    traversal_.channels = lead.channels();
    traversal_.outer = swap ? lead.positions() : lead.samples();
    traversal_.inner = swap ? lead.samples() : lead.positions();
    layouts_ = {layout(lead, swap), layout(others, swap)...};
    merge_values();
    choose_direction();
  }

  const Traversal& traversal() const { return traversal_; }
  const std::array<Layout, Count>& layouts() const { return layouts_; }

  /// Where the operands [First, First + N), whose first elements are given, have an element.
  template <std::size_t First, class T, std::size_t N>
  [[gnu::always_inline]] std::array<T*, N> locate(const std::array<T*, N>& data, Index channel,
                                                  Index outer, Index inner) const {
    std::array<T*, N> at;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < N; ++i) {
      at[i] = data[i] + layouts_[First + i].offset(channel, outer, inner);
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
    return std::all_of(layouts_.begin(), layouts_.end(), [this](const Layout& each) {
      return (traversal_.across_channels ? each.channel_stride : each.inner_stride) == 1;
    });
  }

 private:
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
    const bool even = std::all_of(layouts_.begin(), layouts_.end(), [&](const Layout& each) {
      return each.outer_stride == inner * each.inner_stride;
    });
    if (traversal_.outer == 1 || !even) return;
    traversal_.inner = traversal_.outer * inner;
    traversal_.outer = 1;
  }

  /// The direction in which most operands are contiguous; the narrower steps of the first one
  /// where that decides nothing.
  void choose_direction() {
    if (traversal_.channels == 1 || traversal_.inner == 1) {
      traversal_.across_channels = traversal_.channels > 1;
      return;
    }
    Index along = 0;
    Index across = 0;
    for (const Layout& each : layouts_) {
      along += each.inner_stride == 1 ? 1 : 0;
      across += each.channel_stride == 1 ? 1 : 0;
    }
    const Layout& lead = layouts_.front();
    const bool narrower = size_of_step(lead.channel_stride) < size_of_step(lead.inner_stride);
    const bool preferred = along == across ? narrower : across > along;
    traversal_.across_channels = preferred && traversal_.channels >= fewest_channels_across;
  }

  Traversal traversal_;
  std::array<Layout, Count> layouts_;
};

/// Cuts the values [begin, end) of a channel into the runs that lie on one inner axis each:
/// `for (Runs run(traversal, begin, end); run.more(); run.next())`.
class Runs {
 public:
  [[gnu::always_inline]] Runs(const Traversal& traversal, Index begin, Index end)
      : inner_size_(traversal.inner),
        left_(end - begin),
        outer_(begin / traversal.inner),
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
