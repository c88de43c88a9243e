// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_OVERLAP_HPP
#define BATCHNORM_VIEW_OVERLAP_HPP

#include <algorithm>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What checks ask of a view, without its scalar, so that they are compiled once for all.
struct ViewMemory : ViewShape {
  template <class T>
  ViewMemory(const BatchView<T>& view)
      : ViewShape(view),
        data(view.data()),
        bytes(static_cast<std::int64_t>(sizeof(T))),
        order(view.position_order()) {}

  Index size(int axis) const { return axis == 0 ? samples : axis == 1 ? channels : positions; }
  Index stride(int axis) const {
    return axis == 0 ? sample_stride : axis == 1 ? channel_stride : position_stride;
  }
  bool empty() const { return samples == 0 || channels == 0 || positions == 0; }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data); }

  const void* data;
  std::int64_t bytes;  ///< of an element
  PositionOrder order;
};

/// One axis of an overlap question: an index from 0 to `most`, worth `stride` bytes a step.
struct OverlapAxis {
  std::int64_t stride;
  std::int64_t most;
};

/// Which addresses two views have in common, as a bounded Diophantine problem (that of
/// numpy.shares_memory): can offset + sum(stride * index) lie in a given interval?
class OverlapQuestion {
 public:
  explicit OverlapQuestion(std::int64_t offset) : offset_(offset) {}

  /// Adds an axis. It is turned so that its stride is positive, which moves the offset, joined with
  /// one of the same stride (together they reach every multiple up to the sum of both), or put in
  /// its place by descending stride.
  void add(Index size, std::int64_t step) {
    if (size <= 1 || step == 0) return;
    if (step < 0) {
      offset_ += step * (size - 1);
      step = -step;
    }
    for (int k = 0; k < count_; ++k) {
      if (axes_[k].stride != step) continue;
      axes_[k].most += size - 1;
      return;
    }
    int place = count_++;
    for (; place > 0 && axes_[place - 1].stride < step; --place) axes_[place] = axes_[place - 1];
    axes_[place] = {step, size - 1};
  }

  /// Adds an axis whose index runs from -(size - 1) to size - 1: the difference of two indices.
  void add_difference(Index size, std::int64_t step) {
    offset_ -= step * (size - 1);
    add(2 * size - 1, step);
  }

  bool reaches(std::int64_t low, std::int64_t high) {
    return reaches(0, low - offset_, high - offset_);
  }

 private:
  /// Whether the axes from `axis` on can sum to a number in [low, high]. In nested layouts a few
  /// indices of each axis come into question, so the search ends at once; budget_ bounds it for
  /// layouts made to be hard, with a cautious yes.
  [[gnu::noinline]] bool reaches(int axis, std::int64_t low, std::int64_t high) {
    if (low <= 0 && high >= 0) return true;
    if (axis == count_ || high < 0) return false;
    if (--budget_ < 0) return true;
    std::int64_t rest = 0;
    for (int k = axis + 1; k < count_; ++k) rest += axes_[k].stride * axes_[k].most;
    const std::int64_t stride = axes_[axis].stride;
    const std::int64_t first = (std::max<std::int64_t>)(0, (low - rest + stride - 1) / stride);
    const std::int64_t last = (std::min)(axes_[axis].most, high / stride);
    for (std::int64_t index = first; index <= last; ++index) {
      if (reaches(axis + 1, low - index * stride, high - index * stride)) return true;
    }
    return false;
  }

  std::int64_t offset_;
  OverlapAxis axes_[6] = {};
  int count_ = 0;
  int budget_ = 1000;
};

/// Two views of the same elements in the same order: then element-wise work in place is right.
inline bool same_memory(const ViewMemory& a, const ViewMemory& b) {
  bool same = a.data == b.data && a.bytes == b.bytes;
  for (int axis = 0; axis < 3; ++axis) {
    same = same && (a.size(axis) <= 1 || a.stride(axis) == b.stride(axis));
  }
  return same;
}

/// The addresses from the first byte of a view to behind the last one.
struct AddressRange {
  std::uintptr_t begin;
  std::uintptr_t end;

  explicit AddressRange(const ViewMemory& view)
      : begin(view.address()), end(begin + static_cast<std::uintptr_t>(view.bytes)) {
    for (int axis = 0; axis < 3; ++axis) {
      const Index step = view.stride(axis);
      const Index distance = step * (view.size(axis) - 1) * static_cast<Index>(view.bytes);
      (step < 0 ? begin : end) += static_cast<std::uintptr_t>(distance);
    }
  }
};

/// Whether two views share a byte. Exact for interleaved blocks, such as the upper and the lower
/// rows of one column-major matrix, whose address ranges overlap although their elements do not.
/// Only for layouts with strides that fit nowhere into one another it may be a cautious yes.
inline bool overlap(const ViewMemory& a, const ViewMemory& b) {
  if (a.empty() || b.empty()) return false;
  const AddressRange range_a(a);
  const AddressRange range_b(b);
  if (range_a.end <= range_b.begin || range_b.end <= range_a.begin) return false;
  // The distance from an element of b to one of a, in bytes; it may be negative.
  OverlapQuestion distance(static_cast<std::intptr_t>(a.address() - b.address()));
  for (int axis = 0; axis < 3; ++axis) {
    distance.add(a.size(axis), a.stride(axis) * a.bytes);
    distance.add(b.size(axis), -b.stride(axis) * b.bytes);
  }
  return distance.reaches(1 - a.bytes, b.bytes - 1);
}

/// Whether every axis steps over all that the axes with shorter steps reach: the usual case, in
/// which no element is met twice.
inline bool are_nested(const Index (&sizes)[3], const Index (&strides)[3]) {
  Index step[3];
  int axes = 0;
  int used[3];
  for (int axis = 0; axis < 3; ++axis) {
    step[axis] = strides[axis] < 0 ? -strides[axis] : strides[axis];
    if (sizes[axis] > 1) used[axes++] = axis;
  }
  for (int i = 0; i < axes; ++i) {
    Index reach_below = 0;
    for (int j = 0; j < axes; ++j) {
      if (j == i) continue;
      if (step[used[j]] == step[used[i]]) return false;
      if (step[used[j]] < step[used[i]]) reach_below += (sizes[used[j]] - 1) * step[used[j]];
    }
    if (step[used[i]] <= reach_below) return false;
  }
  return true;
}

/// Whether two different indices of a view mean the same element, as in a broadcast or a sliding
/// window, so that it cannot be an output. Exact as far as overlap() is.
inline bool repeats_elements(const ViewMemory& view) {
  if (view.empty()) return false;
  if (view.samples * view.positions == 1) return view.channels > 1 && view.channel_stride == 0;
  const Index sizes[] = {view.samples, view.channels, view.positions};
  const Index strides[] = {view.sample_stride, view.channel_stride, view.position_stride};
  if (are_nested(sizes, strides)) return false;
  for (int axis = 0; axis < 3; ++axis) {
    if (sizes[axis] == 1) continue;
    // Two indices that differ by 1 or more on this axis and by anything on the others.
    OverlapQuestion distance(strides[axis]);
    distance.add(sizes[axis] - 1, strides[axis]);
    for (int other = 0; other < 3; ++other) {
      if (other != axis) distance.add_difference(sizes[other], strides[other]);
    }
    if (distance.reaches(0, 0)) return true;
  }
  return false;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_OVERLAP_HPP
