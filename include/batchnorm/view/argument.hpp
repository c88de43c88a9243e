// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_ARGUMENT_HPP
#define BATCHNORM_VIEW_ARGUMENT_HPP

#include <type_traits>
#include <utility>

#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/eigen.hpp"

// What the calls of the layer take: views as they are, Eigen objects as features x examples. A
// mistake in the kind of argument ends in one of the messages below, when compiled.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
std::true_type batch_view_test(const BatchView<T>&);
std::false_type batch_view_test(...);

/// BatchView or one of the views that know their owner.
template <class V>
inline constexpr bool is_batch_view = decltype(batch_view_test(std::declval<const V&>()))::value;

template <class V>
std::true_type owner_test(decltype(std::declval<const V&>().make_owner())*);
template <class V>
std::false_type owner_test(...);

/// Whether an output of the same kind can be allocated: not for views of bare pointers.
template <class V>
inline constexpr bool knows_owner = decltype(owner_test<V>(nullptr))::value;

/// Whether a call may take this type at all; keeps the messages below to one per mistake.
template <class A>
inline constexpr bool is_argument = is_batch_view<A> || is_eigen_dense<A>;

/// An expression without memory, such as W * h, evaluated once into the matrix that is read.
template <class Matrix>
class Evaluated {
 public:
  template <class Expression>
  explicit Evaluated(const Expression& expression) : matrix_(expression) {}
  Evaluated(const Evaluated&) = delete;
  Evaluated& operator=(const Evaluated&) = delete;
  auto view() const { return view_of_matrix<Examples::in_columns>(matrix_); }

 private:
  Matrix matrix_;
};

/// A view, held by value so that an input has one interface. An aggregate, so that a view is made
/// where it is held: copying one that has just been written costs more than mapping 64 features.
template <class View>
struct Held {
  View held;
  const View& view() const { return held; }
};

template <class In>
auto hold(const In& in) {
  static_assert(is_argument<In>,
                "batchnorm: an input is a BatchView or an Eigen matrix, array, map, ref, block or "
                "expression");
  if constexpr (is_batch_view<In>) {
    return Held<In>{in};
  } else if constexpr (has_memory<In>) {
    return Held<decltype(view_of_matrix<Examples::in_columns>(in))>{
        view_of_matrix<Examples::in_columns>(in)};
  } else {
    return Evaluated<typename In::PlainObject>(in);
  }
}

/// An input of a call: keeps whatever must live while the call runs.
template <class T, class In>
auto as_input(const In& in) {
  if constexpr (is_argument<In>) {
    static_assert(std::is_same<std::remove_cv_t<typename In::Scalar>, T>::value,
                  "batchnorm: the scalar of the input differs from that of the layer; convert it "
                  "with cast<T>()");
  }
  return hold(in);
}

/// An output of a call, as a view that writes.
template <class T, class Out>
BatchView<T> as_output(Out&& out) {
  using Plain = std::remove_cv_t<std::remove_reference_t<Out>>;
  static_assert(is_argument<Plain>,
                "batchnorm: an output is a BatchView or an Eigen matrix, array, map, ref or block");
  if constexpr (is_batch_view<Plain>) {
    static_assert(!std::is_const<typename Plain::Element>::value,
                  "batchnorm: the output is read-only; a residual is said at the input, "
                  "with_residual(x, r)");
    static_assert(std::is_same<typename Plain::Scalar, T>::value,
                  "batchnorm: the scalar of the output differs from that of the layer");
    return out;
  } else if constexpr (is_eigen_dense<Plain>) {
    static_assert(has_memory<Plain>,
                  "batchnorm: the output is an expression without memory to write to; give a "
                  "matrix, map, ref, block or view");
    static_assert(std::is_same<typename Plain::Scalar, T>::value,
                  "batchnorm: the scalar of the output differs from that of the layer");
    static_assert(std::is_lvalue_reference<Out>::value || !owns_elements<Plain>,
                  "batchnorm: the output is a temporary, its result would be lost");
    if constexpr (has_memory<Plain>) {
      static_assert(!std::is_const<ElementOf<std::remove_reference_t<Out>>>::value,
                    "batchnorm: the output is read-only; a residual is said at the input, "
                    "with_residual(x, r)");
      return view_of_matrix<Examples::in_columns>(out);
    }
  }
}

/// A new owner for the result of a call that allocates it, of the kind that `view` is a view of.
template <class View>
auto make_owner_like(const View& view) {
  static_assert(knows_owner<View>,
                "batchnorm: a view of a bare pointer has no type that could own a new output; pass "
                "an output view as well");
  return view.make_owner();
}

/// The view of such an owner.
template <class View, class Owner>
BatchView<typename View::Scalar> view_of_owner(const View&, Owner& owner) {
  return View::view_of(owner);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_ARGUMENT_HPP
