// SPDX-License-Identifier: MIT
// One batch of the oracle, stored in memory in every way a view can describe.
#ifndef BATCHNORM_TESTS_SUPPORT_LAYOUTS_HPP
#define BATCHNORM_TESTS_SUPPORT_LAYOUTS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "batchnorm/view/batch_view.hpp"
#include "support/reference_batch_norm.hpp"

namespace batchnorm_test {

enum class Layout {
  channels_first,      ///< NCHW; with one position a features x examples matrix by columns
  channels_last,       ///< NHWC
  channels_outermost,  ///< CNHW; with one position an examples x features matrix by columns
  padded,              ///< NCHW inside a larger array, every second element, rows with gaps
  backwards            ///< NHWC from its last element to its first: negative strides
};

inline constexpr std::array<Layout, 5> all_layouts = {Layout::channels_first, Layout::channels_last,
                                                      Layout::channels_outermost, Layout::padded,
                                                      Layout::backwards};

inline const char* name_of(Layout layout) {
  switch (layout) {
    case Layout::channels_first:
      return "channels first";
    case Layout::channels_last:
      return "channels last";
    case Layout::channels_outermost:
      return "channels outermost";
    case Layout::padded:
      return "padded";
    default:
      return "backwards";
  }
}

/// Owns the memory of one batch of scalars T. What lies between the elements of the view is filled
/// with a mark, so that a write into it is seen.
template <class T>
class Stored {
 public:
  using Index = batchnorm::Index;
  using Batch = reference::Batch;

  /// @param offset  elements of empty memory before the first one, to change the alignment
  Stored(const Batch& batch, Layout layout, Index offset = 0)
      : samples_(static_cast<Index>(batch.samples)),
        channels_(static_cast<Index>(batch.channels)),
        positions_(static_cast<Index>(batch.positions)),
        first_(offset) {
    Index size = samples_ * channels_ * positions_;
    choose_strides(layout, size);
    memory_.assign(static_cast<std::size_t>(offset + size), mark());
    batch.each([&](auto n, auto c, auto p) {
      element(*this, n, c, p) = static_cast<T>(batch.at(n, c, p));
    });
  }

  /// Room for a result of that shape.
  static Stored like(const Batch& shape, Layout layout, Index offset = 0) {
    Batch unwritten = shape;
    std::fill(unwritten.values.begin(), unwritten.values.end(), static_cast<long double>(mark()));
    return Stored(unwritten, layout, offset);
  }

  batchnorm::BatchView<T> view() { return make_view<T>(memory_.data() + first_); }
  batchnorm::BatchView<const T> view() const { return make_view<const T>(memory_.data() + first_); }

  Batch read() const {
    Batch batch{static_cast<std::size_t>(samples_), static_cast<std::size_t>(channels_),
                static_cast<std::size_t>(positions_)};
    batch.each([&](auto n, auto c, auto p) {
      batch.at(n, c, p) = static_cast<long double>(element(*this, n, c, p));
    });
    return batch;
  }

  /// Whether both hold the same bits, also between the elements of the view.
  bool same_bits(const Stored& other) const {
    // Some bytes of a long double are none of its value.
    if (std::is_same<T, long double>::value) return memory_ == other.memory_;
    return memory_.size() == other.memory_.size() &&
           std::memcmp(memory_.data(), other.memory_.data(), memory_.size() * sizeof(T)) == 0;
  }

  /// Whether nobody wrote between the elements of the view.
  bool gaps_are_untouched() const {
    Stored rest = *this;
    read().each([&](auto n, auto c, auto p) { element(rest, n, c, p) = mark(); });
    return std::all_of(rest.memory_.begin(), rest.memory_.end(),
                       [](const T& value) { return value == mark(); });
  }

 private:
  static T mark() { return static_cast<T>(-12345.0f); }

  void choose_strides(Layout layout, Index& size) {
    switch (layout) {
      case Layout::channels_first:
        set_strides(channels_ * positions_, positions_, 1);
        break;
      case Layout::channels_last:
        set_strides(channels_ * positions_, 1, channels_);
        break;
      case Layout::channels_outermost:
        set_strides(positions_, samples_ * positions_, 1);
        break;
      case Layout::padded:
        set_strides(channels_ * (2 * positions_ + 3) + 5, 2 * positions_ + 3, 2);
        size = samples_ * sample_stride_;
        break;
      case Layout::backwards:
        set_strides(-channels_ * positions_, -1, -channels_);
        first_ += std::max<Index>(size, 1) - 1;
        break;
    }
  }

  void set_strides(Index sample, Index channel, Index position) {
    sample_stride_ = sample;
    channel_stride_ = channel;
    position_stride_ = position;
  }

  template <class U>
  batchnorm::BatchView<U> make_view(U* first) const {
    return batchnorm::BatchView<U>(first, samples_, channels_, positions_, sample_stride_,
                                   channel_stride_, position_stride_);
  }

  template <class Self>
  static auto& element(Self& self, std::size_t n, std::size_t c, std::size_t p) {
    return self.memory_[static_cast<std::size_t>(self.first_ +
                                                 static_cast<Index>(n) * self.sample_stride_ +
                                                 static_cast<Index>(c) * self.channel_stride_ +
                                                 static_cast<Index>(p) * self.position_stride_)];
  }

  Index samples_, channels_, positions_;
  Index first_;
  Index sample_stride_ = 0, channel_stride_ = 0, position_stride_ = 0;
  std::vector<T> memory_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_LAYOUTS_HPP
