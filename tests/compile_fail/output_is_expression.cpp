// SPDX-License-Identifier: MIT
// expected: batchnorm: the output is an expression without memory to write to
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& w) {
#ifdef WRONG
  layer.train(x, w * x);
#else
  Matrix output(x.rows(), x.cols());
  layer.train(x * w, output);
#endif
}
