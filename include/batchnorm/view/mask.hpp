// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_MASK_HPP
#define BATCHNORM_VIEW_MASK_HPP

#include <Eigen/Core>
#include <memory>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a weight says, and with it what the sum of squares is divided by for an unbiased variance,
/// where W is the sum of the weights:
enum class Weights {
  frequency,    ///< how often the value is there: W - 1
  reliability,  ///< how exact it is, one over the variance of its error: W - sum w^2 / W
  importance    ///< how much it is to count in another distribution than it was drawn from: W, as
                ///< nothing is known that would be unbiased
};

/// What becomes of the elements that a mask leaves out of the statistics.
enum class MaskedOutput {
  normalize,  ///< they are normalised like the others, as Keras does
  zero,       ///< 0
  keep        ///< the input
};

namespace detail {

/// A mask or weights where they lie, one per sample and position, whatever their type.
struct MaskArgument {
  const void* data = nullptr;
  Index first = 0;  ///< element of data that the first sample begins with
  Index samples = 0;
  Index positions = 0;
  Index sample_stride = 0;
  Index position_stride = 0;
  bool one_axis = false;     ///< an Eigen vector: of the samples, or of the positions of one sample
  bool last_fastest = true;  ///< counts positions as PositionOrder::last_fastest
  bool ordered = false;      ///< a view, which says how it counts positions
  /// Weights: copies some of them as double, from the element `first` on. Null for a mask.
  void (*read)(const void* data, Index first, Index step, Index count, double* to) = nullptr;
  Weights kind = Weights::frequency;
  MaskedOutput output = MaskedOutput::normalize;
  std::shared_ptr<const void> evaluated;  ///< keeps what was an expression
};

template <class T>
class SelectedValues;

/// The same, and what makes a choice of values out of it for the inputs of a call.
template <class T>
struct MaskOf : MaskArgument {
  using Select = std::unique_ptr<const SelectedValues<T>> (*)(const char* function,
                                                              const MaskArgument& mask,
                                                              const BatchView<const T>& view);
  Select select = nullptr;
};

}  // namespace detail

/// What masked and weighted return. It refers to its mask, and to an input that has a name, so it
/// belongs into the call that it is written in; it is not for keeping.
template <class In, class T>
struct MaskedInput {
  In in;                   ///< the input, or what with_residual returned; a reference to one with
                           ///< a name
  detail::MaskOf<T> mask;  ///< where the mask lies
};

namespace detail {

template <class A>
inline constexpr bool is_masked_input = false;
template <class In, class T>
inline constexpr bool is_masked_input<MaskedInput<In, T>> = true;

/// What is masked, or the argument itself.
template <class In>
const In& without_mask(const In& in) {
  return in;
}
template <class In, class T>
const auto& without_mask(const MaskedInput<In, T>& masked) {
  return masked.in;
}

template <class In>
struct WithoutMaskOf {
  using Type = In;
};
template <class In, class T>
struct WithoutMaskOf<MaskedInput<In, T>> {
  using Type = std::remove_cv_t<std::remove_reference_t<In>>;
};
/// The type of what is masked.
template <class In>
using WithoutMask = typename WithoutMaskOf<In>::Type;

template <class S>
void read_weights(const void* data, Index first, Index step, Index count, double* to) {
  const S* const from = static_cast<const S*>(data) + first;
  for (Index i = 0; i < count; ++i) to[i] = convert<double>(from[i * step]);
}

template <class S>
void point_to(MaskArgument& mask, const BatchView<S>& view) {
  if (view.channels() != 1) {
    fail_argument("masked", "channels of a view that is a mask or weights",
                  "1, as every element has one for all channels", text(view.channels()));
  }
  mask.data = view.data();
  mask.samples = view.samples();
  mask.positions = view.positions();
  mask.sample_stride = view.sample_stride();
  mask.position_stride = view.position_stride();
  mask.last_fastest = view.position_order() == PositionOrder::last_fastest;
  mask.ordered = true;
}

template <class M>
void point_to_matrix(MaskArgument& mask, const M& matrix) {
  mask.data = matrix.data();
  mask.one_axis = M::IsVectorAtCompileTime;
  if constexpr (M::IsVectorAtCompileTime) {
    mask.samples = matrix.size();
    mask.positions = 1;
    mask.sample_stride = matrix.innerStride();
  } else {
    mask.samples = matrix.rows();
    mask.positions = matrix.cols();
    mask.sample_stride = M::IsRowMajor ? matrix.outerStride() : matrix.innerStride();
    mask.position_stride = M::IsRowMajor ? matrix.innerStride() : matrix.outerStride();
  }
}

/// Points to a mask or weights of any kind; evaluates an expression.
///
/// @tparam Weighted  whether these are weights
template <bool Weighted, class M>
void describe_mask(MaskArgument& mask, const M& argument) {
  static_assert(is_argument<M>,
                "batchnorm: a mask, and weights, are an Eigen vector of one entry per example, an "
                "Eigen matrix of samples x positions, or a BatchView of one channel");
  if constexpr (is_argument<M>) {
    using S = std::remove_cv_t<typename M::Scalar>;
    constexpr bool is_bool = std::is_same<S, bool>::value;
    static_assert(
        Weighted || is_bool,
        "batchnorm: a mask is made of bool, true: counts; compare numbers with something, "
        "and use weighted(x, w, kind) for weights");
    static_assert(!Weighted || is_real_scalar<S>,
                  "batchnorm: weights are real numbers; a mask of bool belongs into masked(x, m)");
    if constexpr (Weighted) mask.read = &read_weights<S>;
    if constexpr (is_batch_view<M>) {
      point_to(mask, argument);
    } else if constexpr (has_memory<M>) {
      point_to_matrix(mask, argument);
    } else {
      const auto evaluated = std::make_shared<const typename M::PlainObject>(argument);
      point_to_matrix(mask, *evaluated);
      mask.evaluated = evaluated;
    }
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_MASK_HPP
