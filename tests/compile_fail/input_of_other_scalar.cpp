// SPDX-License-Identifier: MIT
// expected: batchnorm: the scalar of the input differs from that of the layer
#include "batchnorm/layer.hpp"

void use(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXd& x) {
#ifdef WRONG
  layer.train(x);
#else
  layer.train(x.cast<float>());
#endif
}
