// SPDX-License-Identifier: MIT
// One layer that trains: linked to training.cpp, and compared in size with without_training.cpp.
#include <batchnorm/batchnorm.hpp>
#include <cstdio>

Eigen::MatrixXf learn(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x,
                      const Eigen::MatrixXf& target);

int main() {
  Eigen::MatrixXf x(64, 32);
  for (Eigen::Index i = 0; i < x.size(); ++i) std::scanf("%f", x.data() + i);
  batchnorm::BatchNorm<float> layer(64);
  std::printf("%g\n", static_cast<double>(learn(layer, x, x).sum()));
}
