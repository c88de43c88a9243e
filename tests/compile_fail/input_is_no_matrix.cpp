// SPDX-License-Identifier: MIT
// expected: batchnorm: an input is a BatchView or an Eigen matrix
#include "batchnorm/layer.hpp"

#include <vector>

void use(batchnorm::BatchNorm<float>& layer, const std::vector<float>& x) {
  Eigen::MatrixXf output(4, 2);
#ifdef WRONG
  layer.train(x, output);
#else
  layer.train(batchnorm::channels_last(x.data(), 2, 4, 1), output);
#endif
}
