// SPDX-License-Identifier: MIT
// expected: batchnorm: the output is a temporary, its result would be lost
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& w) {
#ifdef WRONG
  layer.train(x, Matrix(w));
#else
  Matrix output(w);
  layer.train(x, output);
#endif
}
