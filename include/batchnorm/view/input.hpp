// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_INPUT_HPP
#define BATCHNORM_VIEW_INPUT_HPP

#include <Eigen/Core>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/mask.hpp"
#include "batchnorm/view/residual.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

namespace detail {

/// Arguments that an implicit conversion to Input or Output is offered for: everything but what has
/// a place of its own in a call. A mistake in the kind of argument ends in one of our messages.
template <class A, class Self>
using if_operand =
    std::enable_if_t<!is_execution<A> && !std::is_same<std::decay_t<A>, Self>::value, int>;

template <class A>
inline constexpr bool is_with_residual = false;
template <class First, class Residual>
inline constexpr bool is_with_residual<WithResidual<First, Residual>> = true;

/// The mask of an argument, null for one without.
template <class T, class A>
const MaskOf<T>* mask_of(const A& argument) {
  if constexpr (is_masked_input<A>) {
    constexpr bool same = std::is_convertible<decltype(&argument.mask), const MaskOf<T>*>::value;
    static_assert(same,
                  "batchnorm: the scalar of the input differs from that of the layer; convert it "
                  "with cast<T>()");
    if constexpr (same) return &argument.mask;
  }
  static_cast<void>(argument);
  return nullptr;
}

/// One array that is read. An expression without memory, such as W * h, is evaluated once. A view
/// that is there already is referred to, as copying it takes a tenth of the smallest calls.
template <class T>
class InputArray {
 public:
  /// Nothing; view() may not be called.
  InputArray() {}
  template <class A>
  explicit InputArray(const A& argument) {
    static_assert(
        is_argument<A>,
        "batchnorm: an input is a BatchView or an Eigen matrix, array, map, ref, block or "
        "expression");
    if constexpr (is_argument<A>) {
      static_assert(std::is_same<std::remove_cv_t<typename A::Scalar>, T>::value,
                    "batchnorm: the scalar of the input differs from that of the layer; convert it "
                    "with cast<T>()");
      set(argument);
    }
  }
  InputArray(const InputArray&) = delete;
  InputArray& operator=(const InputArray&) = delete;

  const BatchView<const T>& view() const { return *view_; }

 private:
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

  template <class A>
  void set(const A& argument) {
    if constexpr (std::is_convertible<const A*, const BatchView<const T>*>::value) {
      view_ = &argument;
    } else if constexpr (is_batch_view<A>) {
      view_ = new (&made_) BatchView<const T>(argument);
    } else if constexpr (has_memory<A>) {
      view_ = new (&made_) BatchView<const T>(view_of_matrix<Examples::in_columns>(argument));
    } else {
      evaluated_ = std::make_unique<const Matrix>(argument);
      view_ = new (&made_) BatchView<const T>(view_of_matrix<Examples::in_columns>(*evaluated_));
    }
  }

  const BatchView<const T>* view_ = nullptr;
  std::unique_ptr<const Matrix> evaluated_;
  union {
    BatchView<const T> made_;  ///< of the argument, where it is none
  };
};

}  // namespace detail

/// The parameter type of inputs: what is normalised, or a gradient that is propagated back. Takes
/// BatchViews, Eigen objects of features x examples, with_residual of two such, and masked or
/// weighted of any, as Eigen::Ref and std::string_view take what they refer to. Not for keeping: it
/// refers to its argument.
///
/// Shapes: as BatchView, examples_in_columns for Eigen objects; a residual has the shape of what it
/// is added to, which the call that takes this checks. Cost: constant; an expression such as W * h
/// is evaluated into memory of its own. Errors: std::invalid_argument as BatchView, and for a mask
/// of another shape. Thread safety: immutable, for one call.
template <class T>
class Input {
 public:
  /// From a view or an Eigen object.
  template <class A, detail::if_operand<A, Input> = 0>
  Input(const A& argument) : x_(argument) {}
  /// From a pair of with_residual.
  template <class First, class Residual>
  Input(const WithResidual<First, Residual>& pair)
      : x_(detail::without_mask(pair.first)),
        residual_(pair.residual),
        has_residual_(true),
        mask_(detail::mask_of<T>(pair.first)) {}
  /// From what masked and weighted return.
  template <class In, class Scalar>
  Input(const MaskedInput<In, Scalar>& masked) : Input(masked.in) {
    set_mask(detail::mask_of<T>(masked));
  }

  /// What is normalised, or the gradient.
  const BatchView<const T>& view() const { return x_.view(); }
  /// Null without a residual.
  const BatchView<const T>* residual() const { return has_residual_ ? &residual_.view() : nullptr; }
  /// Null without a mask.
  const detail::MaskOf<T>* mask() const { return mask_; }

 private:
  void set_mask(const detail::MaskOf<T>* mask) { mask_ = mask; }

  detail::InputArray<T> x_;
  detail::InputArray<T> residual_;
  bool has_residual_ = false;
  const detail::MaskOf<T>* mask_ = nullptr;
};

/// The parameter type of outputs: a BatchView that writes, or an Eigen object with memory of its
/// own. Shapes: that of the Input of the call. Cost: constant. Errors: std::invalid_argument as
/// BatchView; what cannot be written is refused when compiled. Thread safety: immutable, for one
/// call.
template <class T>
class Output {
 public:
  /// Of the argument, which must outlive the call.
  template <class A, detail::if_operand<A, Output> = 0>
  Output(A&& argument) : view_(detail::as_output<T>(std::forward<A>(argument))) {}

  /// Where it is written.
  const BatchView<T>& view() const { return view_; }

 private:
  BatchView<T> view_;
};

/// Where gradients with respect to an Input go: one output, or with_residual of two. Shapes: those
/// of the Input. Cost: constant. Errors: as Output. Thread safety: immutable, for one call.
template <class T>
class GradientOutput {
 public:
  /// From an argument that an Output can be made of.
  template <class A, detail::if_operand<A, GradientOutput> = 0,
            std::enable_if_t<!detail::is_with_residual<std::decay_t<A>>, int> = 0>
  GradientOutput(A&& argument) : x_(std::forward<A>(argument)), residual_(x_.view()) {}
  /// From a pair of with_residual: of the input first, then of the residual.
  template <class First, class Residual>
  GradientOutput(const WithResidual<First, Residual>& pair)
      : x_(std::forward<First>(pair.first)),
        residual_(std::forward<Residual>(pair.residual)),
        has_residual_(true) {}

  /// Where the gradient of the input goes.
  const BatchView<T>& view() const { return x_.view(); }
  /// Where that of the residual goes; null without one.
  const BatchView<T>* residual() const { return has_residual_ ? &residual_.view() : nullptr; }

 private:
  Output<T> x_;
  Output<T> residual_;
  bool has_residual_ = false;
};

namespace detail {

/// The part of an argument that an allocated output is like.
template <class In>
const In& lead_of(const In& in) {
  return in;
}
template <class First, class Residual>
const auto& lead_of(const WithResidual<First, Residual>& pair) {
  return without_mask(pair.first);
}
template <class In, class T>
const auto& lead_of(const MaskedInput<In, T>& masked) {
  return lead_of(masked.in);
}

/// Refuses when compiled a residual that is given as an argument of its own.
template <class... A>
void refuse_positional_residual() {
  static_assert(sizeof...(A) == static_cast<std::size_t>(-1),
                "batchnorm: a residual is said at its input and its gradient: "
                "train(with_residual(x, r), y), "
                "backward(batch, with_residual(x, r), dy, with_residual(dx, dr))");
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_INPUT_HPP
