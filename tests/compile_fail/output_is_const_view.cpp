// SPDX-License-Identifier: MIT
// expected: batchnorm: the output is read-only
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& w) {
#ifdef WRONG
  layer.infer(x, batchnorm::examples_in_columns(w));
#else
  Matrix output(w);
  layer.infer(x, batchnorm::examples_in_columns(output));
#endif
}
