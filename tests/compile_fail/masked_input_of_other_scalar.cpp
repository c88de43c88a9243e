// SPDX-License-Identifier: MIT
// expected: batchnorm: the scalar of the input differs from that of the layer
#include "batchnorm/batchnorm.hpp"

void use(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x, Eigen::MatrixXf& y) {
  const Eigen::Array<bool, Eigen::Dynamic, 1> m = x.row(0).transpose().array() > 0;
  const Eigen::MatrixXd wide = x.cast<double>();
#ifdef WRONG
  layer.train(batchnorm::masked(wide, m), y);
#else
  layer.train(batchnorm::masked(wide.cast<float>(), m), y);
#endif
}
