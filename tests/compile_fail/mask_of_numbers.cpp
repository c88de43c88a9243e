// SPDX-License-Identifier: MIT
// expected: batchnorm: a mask is made of bool
#include "batchnorm/batchnorm.hpp"

void use(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x, Eigen::MatrixXf& y) {
  const Eigen::VectorXf m = Eigen::VectorXf::Ones(x.cols());
#ifdef WRONG
  layer.train(batchnorm::masked(x, m), y);
#else
  layer.train(batchnorm::masked(x, m.array() > 0), y);
#endif
}
