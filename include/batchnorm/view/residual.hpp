// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_RESIDUAL_HPP
#define BATCHNORM_VIEW_RESIDUAL_HPP

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What with_residual returns. It refers to its two parts, so it belongs into the call that it is
/// written in; it is not for keeping.
template <class First, class Residual>
struct WithResidual {
  First first;        ///< a reference to the input, or to where its gradient goes
  Residual residual;  ///< a reference to the residual, or to where its gradient goes
};

/// An input and the residual of a residual block, which is added before the epilogue:
///
///     layer.train(with_residual(x, r), y);                  y = f(gamma xhat + beta + r)
///     y = frozen(with_residual(x, r));
///     layer.backward(batch, with_residual(x, r), dy, with_residual(dx, dr));
///
/// Takes what the calls take as inputs (or as outputs, for the gradients), both of one shape. Costs
/// nothing: it holds two references.
template <class In, class Residual>
WithResidual<In&&, Residual&&> with_residual(In&& in, Residual&& residual) {
  return {std::forward<In>(in), std::forward<Residual>(residual)};
}

namespace detail {

template <class A>
inline constexpr bool is_with_residual = false;
template <class First, class Residual>
inline constexpr bool is_with_residual<WithResidual<First, Residual>> = true;

/// How many arrays an argument stands for.
template <class A>
inline constexpr std::size_t views_of = is_with_residual<std::decay_t<A>> ? 2 : 1;

/// The inputs of a call: keeps whatever must live while the call runs.
template <class T, class First>
struct HeldInput {
  First first;
  decltype(auto) lead() const { return first.view(); }
  std::array<BatchView<const T>, 1> views() const { return {first.view()}; }
};
template <class T, class First, class Residual>
struct HeldInputs {
  First first;
  Residual residual;
  decltype(auto) lead() const { return first.view(); }
  std::array<BatchView<const T>, 2> views() const { return {first.view(), residual.view()}; }
};

/// An input of a call, with a residual or without.
template <class T, class In>
auto as_inputs(const In& in) {
  if constexpr (is_with_residual<In>) {
    using First = decltype(as_input<T>(in.first));
    using Residual = decltype(as_input<T>(in.residual));
    return HeldInputs<T, First, Residual>{as_input<T>(in.first), as_input<T>(in.residual)};
  } else {
    return HeldInput<T, decltype(as_input<T>(in))>{as_input<T>(in)};
  }
}

/// Where the gradients of such an input go.
template <class T, class In, class Out>
std::array<BatchView<T>, views_of<In>> as_outputs(Out&& out) {
  static_assert(
      views_of<In> == views_of<Out>,
      "batchnorm: an input with a residual has gradients with a residual, and one without "
      "has one gradient; write with_residual(dx, dr) for with_residual(x, r)");
  if constexpr (views_of<Out> == 2 && views_of<In> == 2) {
    using Pair = std::decay_t<Out>;
    return {as_output<T>(std::forward<decltype(Pair::first)>(out.first)),
            as_output<T>(std::forward<decltype(Pair::residual)>(out.residual))};
  } else if constexpr (views_of<In> == 1) {
    return {as_output<T>(std::forward<Out>(out))};
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_RESIDUAL_HPP
