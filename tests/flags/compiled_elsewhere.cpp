// SPDX-License-Identifier: MIT
// Includes compiled.hpp and is compiled with other flags than batchnorm::compiled: no linker may
// take it.
#include <batchnorm/compiled.hpp>

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  batchnorm::BatchNorm<float> layer(3);
  layer.train(x, x);
}
