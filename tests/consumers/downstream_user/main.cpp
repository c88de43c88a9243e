// SPDX-License-Identifier: MIT
#include <downstream.hpp>

int main() {
  const batchnorm::BatchNorm<float> layer = downstream::trained_layer();
  const Eigen::MatrixXf output = layer.infer(Eigen::MatrixXf::Ones(3, 1));
  return layer.state().batches_seen == 1 && output.rows() == 3 ? 0 : 1;
}
