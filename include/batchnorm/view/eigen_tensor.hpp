// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_EIGEN_TENSOR_HPP
#define BATCHNORM_VIEW_EIGEN_TENSOR_HPP

// Optional: needs Eigen's unsupported Tensor module, so the umbrella header leaves it out.

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The view of an Eigen::Tensor or TensorMap that also knows how to make another of its kind, for
/// calls that allocate their output. Made by channels_first(tensor) and channels_last(tensor).
///
/// Shapes: rank 2 to 5, samples first. Cost: constant, but for make_owner. Errors: as BatchView.
/// Thread safety: immutable, as BatchView.
///
/// @tparam T       element, const when the tensor is
/// @tparam Owner   the Eigen::Tensor of the same scalar, rank and storage order
/// @tparam Channel the axis of the channels
template <class T, class Owner, int Channel>
class TensorView : public BatchView<T> {
 public:
  static constexpr int rank = Owner::NumDimensions;  ///< number of axes
  /// One extent per axis.
  using Sizes = std::array<Index, static_cast<std::size_t>(rank)>;

  /// Of a dense tensor of these sizes whose first element lies at `data`.
  TensorView(T* data, const Sizes& sizes) : BatchView<T>(make(data, sizes)), sizes_(sizes) {}

  /// A new tensor of the same shape, its elements not set.
  Owner make_owner() const {
    typename Owner::Dimensions dimensions;
    std::copy(sizes_.begin(), sizes_.end(), dimensions.begin());
    return Owner(dimensions);
  }

  /// The view of such a tensor, `owner`.
  static TensorView<typename Owner::Scalar, Owner, Channel> view_of(Owner& owner) {
    return {owner.data(), sizes_of(owner)};
  }

  /// The extents of any tensor of this rank.
  template <class Tensor>
  static Sizes sizes_of(const Tensor& tensor) {
    Sizes sizes{};
    const auto dimensions = tensor.dimensions();
    std::copy(dimensions.begin(), dimensions.end(), sizes.begin());
    return sizes;
  }

 private:
  static constexpr bool row_major =
      static_cast<int>(Owner::Layout) == static_cast<int>(Eigen::RowMajor);

  static Index at(const Sizes& sizes, int axis) { return sizes[static_cast<std::size_t>(axis)]; }

  static Index stride(const Sizes& sizes, int axis) {
    Index step = 1;
    for (int other = 0; other < rank; ++other) {
      if (row_major ? other > axis : other < axis) step *= at(sizes, other);
    }
    return step;
  }

  /// The spatial axes are neighbours, so together they are one axis, in either storage order.
  static BatchView<T> make(T* data, const Sizes& sizes) {
    Index positions = 1;
    Index step = 1;
    int spatial_axes = 0;
    for (int axis = 1; axis < rank; ++axis) {
      if (axis == Channel) continue;
      spatial_axes += at(sizes, axis) > 1 ? 1 : 0;
      const bool innermost = row_major || positions == 1;
      if (innermost) step = stride(sizes, axis);
      positions *= at(sizes, axis);
    }
    return BatchView<T>(data, at(sizes, 0), at(sizes, Channel), positions, stride(sizes, 0),
                        stride(sizes, Channel), step)
        .counted(row_major || spatial_axes <= 1 ? PositionOrder::last_fastest
                                                : PositionOrder::first_fastest);
  }

  Sizes sizes_;
};

namespace detail {

/// TensorMap points elsewhere and may be a temporary; Tensor owns its elements.
template <class Tensor>
struct OwnsElements : std::true_type {};
template <class Plain, int Options, template <class> class MakePointer>
struct OwnsElements<Eigen::TensorMap<Plain, Options, MakePointer>> : std::false_type {};

template <bool ChannelFirst, class Tensor>
auto view_of_tensor(Tensor&& tensor) {
  using Plain = std::remove_cv_t<std::remove_reference_t<Tensor>>;
  constexpr int rank = Plain::NumDimensions;
  static_assert(rank >= 2 && rank <= 5, "batchnorm: a tensor has rank 2 (samples, channels) to 5");
  static_assert(std::is_lvalue_reference<Tensor>::value || !OwnsElements<Plain>::value,
                "batchnorm: a view must not bind to a temporary tensor; give the tensor a name");
  using Owner = Eigen::Tensor<std::remove_const_t<typename Plain::Scalar>, rank, Plain::Layout,
                              typename Plain::Index>;
  using Element = std::remove_pointer_t<decltype(tensor.data())>;
  using View = TensorView<Element, Owner, ChannelFirst ? 1 : rank - 1>;
  return View(tensor.data(), View::sizes_of(tensor));
}

}  // namespace detail

/// View of an Eigen::Tensor or TensorMap. Shapes: axes (samples, channels) or (samples, channels,
/// positions...), rank 2 to 5, in either storage order. The tensor must outlive the view; a
/// temporary Tensor is refused when compiled. Cost: constant.
/// @throws std::invalid_argument as BatchView
template <class Tensor, class = typename std::remove_reference_t<Tensor>::Dimensions>
auto channels_first(Tensor&& tensor) {
  return detail::view_of_tensor<true>(std::forward<Tensor>(tensor));
}

/// View of an Eigen::Tensor or TensorMap. Shapes: axes (samples, channels) or (samples,
/// positions..., channels), rank 2 to 5, in either storage order. The tensor must outlive the view;
/// a temporary Tensor is refused when compiled. Cost: constant.
/// @throws std::invalid_argument as BatchView
template <class Tensor, class = typename std::remove_reference_t<Tensor>::Dimensions>
auto channels_last(Tensor&& tensor) {
  return detail::view_of_tensor<false>(std::forward<Tensor>(tensor));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_EIGEN_TENSOR_HPP
