// SPDX-License-Identifier: MIT
// expected: batchnorm: an input with a residual has gradients with a residual
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(const batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& r,
         const Matrix& dy, Matrix& dx, Matrix& dr) {
  const auto batch = batchnorm::moments_of(x);
  using batchnorm::with_residual;
#ifdef WRONG
  static_cast<void>(dr);
  layer.backward(batch, with_residual(x, r), dy, dx);
#else
  layer.backward(batch, with_residual(x, r), dy, with_residual(dx, dr));
#endif
}
