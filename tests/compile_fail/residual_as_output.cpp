// SPDX-License-Identifier: MIT
// expected: batchnorm: the output is read-only; a residual is said at the input, with_residual
#include "batchnorm/frozen.hpp"

Eigen::MatrixXf use(const batchnorm::FrozenBatchNorm<float>& frozen, const Eigen::MatrixXf& x,
                    const Eigen::MatrixXf& residual) {
#ifdef WRONG
  frozen(x, residual);
  return residual;
#else
  return frozen(batchnorm::with_residual(x, residual));
#endif
}
