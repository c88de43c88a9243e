// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_BATCH_VIEW_HPP
#define BATCHNORM_VIEW_BATCH_VIEW_HPP

#include <cstddef>
#include <limits>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How several spatial axes were counted through to become the one axis of positions. Views that
/// disagree about it do not mean the same element by the same position.
enum class PositionOrder {
  last_fastest,  ///< C order: NCHW and NHWC pointers, row-major tensors
  first_fastest  ///< Fortran order: column-major tensors
};

namespace detail {
/// All that a view must fulfil. Given numbers and no view, so that one that nobody else looks at
/// need not be in memory.
[[gnu::cold, gnu::noinline]] inline void check_view(Index samples, Index channels, Index positions,
                                                    bool null) {
  constexpr const char* function = "BatchView";
  if (channels < 1) {
    fail_argument(function, "number of channels", "at least 1", text(channels));
  }
  if (samples < 0 || positions < 0) {
    fail_argument(function, "number of samples and positions", "zero or more",
                  text(samples, " samples and ", positions, " positions"));
  }
  if (samples == 0 || positions == 0) return;
  constexpr Index most = (std::numeric_limits<Index>::max)();
  if (samples > most / channels || samples * channels > most / positions) {
    fail_argument(function, "number of elements", text("at most ", most),
                  text(samples, " x ", channels, " x ", positions, " elements"));
  }
  if (null) {
    fail_argument(function, "data of a view that is not empty", "a pointer to its elements",
                  text("null for ", samples * channels * positions, " elements"));
  }
}
}  // namespace detail

/// A minibatch where it lies: a strided (samples, channels, positions) array that somebody else
/// owns. Statistics are per channel, over samples and positions.
///
/// Everything is this view with other strides: a features x examples matrix (one position), its
/// transpose, NCHW, NHWC, NCDHW, a block of a larger matrix. Nothing is copied to get in. Strides
/// are counted in elements and may be negative.
///
/// Shapes: samples x channels x positions; a plain matrix has one position. Cost: constant; six
/// numbers and a pointer, trivially copyable. The memory must outlive the view. Thread safety:
/// immutable; the elements are as safe as the memory that they lie in.
///
/// @tparam T  scalar of the elements; const T for a view that only reads
template <class T>
class BatchView {
 public:
  using Element = T;                      ///< with its const
  using Scalar = std::remove_const_t<T>;  ///< without

  /// From a pointer to element (0, 0, 0), the three sizes, and the three strides sample_stride,
  /// channel_stride and position_stride: elements from one to the next.
  /// @throws std::invalid_argument when samples or positions are negative, channels not positive,
  ///         data null although there are elements, or the number of elements overflows Index.
  BatchView(T* data, Index samples, Index channels, Index positions, Index sample_stride,
            Index channel_stride, Index position_stride)
      : data_(data),
        samples_(samples),
        channels_(channels),
        positions_(positions),
        sample_stride_(sample_stride),
        channel_stride_(channel_stride),
        position_stride_(position_stride) {
    check();
  }

  /// A view that writes is also one that reads.
  template <class U, std::enable_if_t<std::is_same<const U, T>::value, int> = 0>
  BatchView(const BatchView<U>& other)
      : data_(other.data()),
        samples_(other.samples()),
        channels_(other.channels()),
        positions_(other.positions()),
        sample_stride_(other.sample_stride()),
        channel_stride_(other.channel_stride()),
        position_stride_(other.position_stride()),
        position_order_(other.position_order()) {}

  /// Element (0, 0, 0).
  T* data() const { return data_; }
  /// Number of examples.
  Index samples() const { return samples_; }
  /// Number of channels, which have statistics of their own.
  Index channels() const { return channels_; }
  /// Number of places in an example, H * W of an image.
  Index positions() const { return positions_; }
  /// Elements from one sample to the next; so for the others.
  Index sample_stride() const { return sample_stride_; }
  /// Elements from one channel to the next.
  Index channel_stride() const { return channel_stride_; }
  /// Elements from one position to the next.
  Index position_stride() const { return position_stride_; }
  /// How several spatial axes have become positions.
  PositionOrder position_order() const { return position_order_; }

  /// n of the formulas: how many values each channel has.
  Index values_per_channel() const { return samples_ * positions_; }
  /// Whether there is no element.
  bool empty() const { return values_per_channel() == 0; }

  /// One element, sample and all counted from 0. Errors: none; nothing is checked.
  T& operator()(Index sample, Index channel, Index position) const {
    return data_[sample * sample_stride_ + channel * channel_stride_ + position * position_stride_];
  }

  /// The same memory, its positions declared to be counted in the given order. Errors: none.
  BatchView counted(PositionOrder order) const {
    BatchView view = *this;
    view.position_order_ = order;
    return view;
  }

 private:
  /// Most views are seen to be right by two comparisons: the numbers as unsigned ones, so that
  /// negative ones are large, and three of these do not overflow.
  void check() const {
    constexpr std::size_t surely_fits = std::size_t{1}
                                        << (std::numeric_limits<std::size_t>::digits / 3 - 1);
    const bool usual = static_cast<std::size_t>(samples_ | channels_ | positions_) < surely_fits &&
                       channels_ > 0 && data_ != nullptr;
    if (!usual) detail::check_view(samples_, channels_, positions_, data_ == nullptr);
  }

  T* data_;
  Index samples_;
  Index channels_;
  Index positions_;
  Index sample_stride_;
  Index channel_stride_;
  Index position_stride_;
  PositionOrder position_order_ = PositionOrder::last_fastest;
};

namespace detail {
/// Some samples of a view.
template <class T>
BatchView<T> samples_of(const BatchView<T>& view, Index first, Index count) {
  return BatchView<T>(view.data() + first * view.sample_stride(), count, view.channels(),
                      view.positions(), view.sample_stride(), view.channel_stride(),
                      view.position_stride())
      .counted(view.position_order());
}

/// A product that may overflow: of sizes that the view is about to refuse.
inline Index unchecked_product(Index a, Index b) {
  return static_cast<Index>(static_cast<std::size_t>(a) * static_cast<std::size_t>(b));
}

/// Shape and strides of a view, whatever its scalar.
struct ViewShape {
  template <class T>
  explicit ViewShape(const BatchView<T>& view)
      : samples(view.samples()),
        channels(view.channels()),
        positions(view.positions()),
        sample_stride(view.sample_stride()),
        channel_stride(view.channel_stride()),
        position_stride(view.position_stride()) {}
  ViewShape() = default;

  Index samples = 0;
  Index channels = 0;
  Index positions = 0;
  Index sample_stride = 0;
  Index channel_stride = 0;
  Index position_stride = 0;
};
}  // namespace detail

/// View of a densely packed array with the channel before the positions: NC, NCL, NCHW, NCDHW (the
/// default of PyTorch and ONNX). Shapes: `data` is samples x channels x positions, the last
/// fastest; `positions` is H * W and the like, 1 when there are none. Cost: constant.
/// @throws std::invalid_argument as BatchView does
template <class T>
BatchView<T> channels_first(T* data, Index samples, Index channels, Index positions) {
  return BatchView<T>(data, samples, channels, positions,
                      detail::unchecked_product(channels, positions), positions, 1);
}

/// View of a densely packed array with the channel last: NC, NLC, NHWC, NDHWC (the default of
/// Keras and Flax). Shapes: `data` is samples x positions x channels, the last fastest; `positions`
/// is H * W and the like, 1 when there are none. Cost: constant.
/// @throws std::invalid_argument as BatchView does
template <class T>
BatchView<T> channels_last(T* data, Index samples, Index channels, Index positions) {
  return BatchView<T>(data, samples, channels, positions,
                      detail::unchecked_product(channels, positions), 1, channels);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_BATCH_VIEW_HPP
