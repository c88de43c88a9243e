// SPDX-License-Identifier: MIT
// expected: batchnorm: a residual is said at its input and its gradient
#include "batchnorm/frozen.hpp"

using Matrix = Eigen::MatrixXf;

void use(const batchnorm::FrozenBatchNorm<float>& frozen, const Matrix& x, const Matrix& r,
         Matrix& y) {
#ifdef WRONG
  frozen(x, r, y);
#else
  frozen(batchnorm::with_residual(x, r), y);
#endif
}
