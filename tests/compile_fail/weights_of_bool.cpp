// SPDX-License-Identifier: MIT
// expected: batchnorm: weights are real numbers
#include "batchnorm/batchnorm.hpp"

void use(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x, Eigen::MatrixXf& y) {
  const Eigen::Array<bool, Eigen::Dynamic, 1> m = x.row(0).transpose().array() > 0;
#ifdef WRONG
  layer.train(batchnorm::weighted(x, m, batchnorm::Weights::importance), y);
#else
  layer.train(batchnorm::masked(x, m), y);
#endif
}
