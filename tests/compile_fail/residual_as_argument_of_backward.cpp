// SPDX-License-Identifier: MIT
// expected: batchnorm: a residual is said at its input and its gradient
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(const batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& r,
         const Matrix& dy, Matrix& dx, Matrix& dr) {
  const auto batch = batchnorm::moments_of(x);
  using batchnorm::with_residual;
#ifdef WRONG
  layer.backward(batch, x, r, dy, dx, dr);
#else
  layer.backward(batch, with_residual(x, r), dy, with_residual(dx, dr));
#endif
}
