// SPDX-License-Identifier: MIT
// expected: batchnorm: the scalar of the output differs from that of the layer
#include "batchnorm/layer.hpp"

using Matrix = Eigen::MatrixXf;

void use(batchnorm::BatchNorm<float>& layer, const Matrix& x, const Matrix& w) {
#ifdef WRONG
  Eigen::MatrixXd output(x.rows(), x.cols());
  layer.backward_frozen(x, w, output);
#else
  Matrix output(x.rows(), x.cols());
  layer.backward_frozen(x, w, output);
#endif
}
