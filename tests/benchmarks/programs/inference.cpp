// SPDX-License-Identifier: MIT
// One layer that infers: compared in size with without_inference.cpp, which lacks the layer.
#include <batchnorm/batchnorm.hpp>
#include <cstdio>

int main() {
  Eigen::VectorXf example(64);
  for (float& value : example) std::scanf("%f", &value);
  const batchnorm::FrozenBatchNorm<float> layer(batchnorm::State<float>(64), batchnorm::Options());
  layer(example, example);
  std::printf("%g\n", static_cast<double>(example.sum()));
}
