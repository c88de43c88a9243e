// SPDX-License-Identifier: MIT
// expected: batchnorm: a residual is said at its input and its gradient
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(const batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& r,
         const Matrix& dy, Matrix& dx, Matrix& dr) {
  using batchnorm::with_residual;
#ifdef WRONG
  layer.backward_frozen(x, r, dy, dx, dr);
#else
  layer.backward_frozen(with_residual(x, r), dy, with_residual(dx, dr));
#endif
}
