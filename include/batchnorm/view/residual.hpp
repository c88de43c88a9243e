// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_RESIDUAL_HPP
#define BATCHNORM_VIEW_RESIDUAL_HPP

#include <utility>

#include "batchnorm/version.hpp"

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
/// Source: He and others 2015 (arXiv:1512.03385), figure 2. Shapes: `in` and `residual` are what
/// the calls take as inputs (or as outputs, for the gradients), of one shape. Errors: none; the
/// call that it is written in checks. Cost: constant; it holds two references.
template <class In, class Residual>
WithResidual<In&&, Residual&&> with_residual(In&& in, Residual&& residual) {
  return {std::forward<In>(in), std::forward<Residual>(residual)};
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_RESIDUAL_HPP
