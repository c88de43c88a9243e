// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_CALLS_HPP
#define BATCHNORM_VIEW_CALLS_HPP

#include "batchnorm/execution.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/input.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What train(in) returns: `auto [output, batch] = layer.train(in);`
template <class Output, class Batch>
struct TrainResult {
  Output output;  ///< of the shape of the input
  Batch batch;    ///< the moments of the minibatch
};

/// What backward without an output returns: `auto [in_gradient, gamma, beta] = ...`
template <class Output, class Vector>
struct BackwardResult {
  Output in_gradient;  ///< dL/dx, of the shape of the input
  Vector gamma;        ///< dL/dgamma, one per channel
  Vector beta;         ///< dL/dbeta, one per channel
};

namespace detail {

/// Overloads of a layer's calls that are given a residual as an argument of its own, where it could
/// be taken for an output. They end in a message when compiled.
template <class BatchMoments>
class PositionalResiduals {
 public:
  template <class In, class Residual, class Out, if_operand<Out, void> = 0>
  void train(const In&, const Residual&, Out&&, const Execution& = {}) const {
    refuse_positional_residual<In>();
  }
  template <class In, class Residual, class Out, if_operand<Out, void> = 0,
            if_operand<In, BatchMoments> = 0>
  void normalize(const In&, const Residual&, Out&&, const Execution& = {}) const {
    refuse_positional_residual<In>();
  }
  template <class In, class Residual, class Out, if_operand<Out, void> = 0>
  void infer(const In&, const Residual&, Out&&, const Execution& = {}) const {
    refuse_positional_residual<In>();
  }
  template <class In, class Residual, class Dy, class Dx, class Dr, if_operand<Dr, void> = 0>
  void backward(const BatchMoments&, const In&, const Residual&, const Dy&, Dx&&, Dr&&,
                const Execution& = {}) const {
    refuse_positional_residual<In>();
  }
  template <class In, class Residual, class Dy, class Dx, class Dr, if_operand<Dr, void> = 0>
  void backward_frozen(const In&, const Residual&, const Dy&, Dx&&, Dr&&,
                       const Execution& = {}) const {
    refuse_positional_residual<In>();
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_CALLS_HPP
