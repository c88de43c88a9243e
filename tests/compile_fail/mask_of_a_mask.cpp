// SPDX-License-Identifier: MIT
// expected: batchnorm: an input has one mask or one set of weights
#include "batchnorm/batchnorm.hpp"

void use(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x, Eigen::MatrixXf& y) {
  const Eigen::VectorXf w = x.row(0).transpose().cwiseAbs();
#ifdef WRONG
  layer.train(
      batchnorm::masked(batchnorm::weighted(x, w, batchnorm::Weights::importance), w.array() > 1),
      y);
#else
  layer.train(batchnorm::weighted(x, w, batchnorm::Weights::importance), y);
#endif
}
