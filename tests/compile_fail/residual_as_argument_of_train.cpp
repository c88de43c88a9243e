// SPDX-License-Identifier: MIT
// expected: batchnorm: a residual is said at its input and its gradient
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& r, Matrix& y) {
#ifdef WRONG
  layer.train(x, r, y);
#else
  layer.train(batchnorm::with_residual(x, r), y);
#endif
}
