// SPDX-License-Identifier: MIT
// The first program of the README: a few minibatches forward and backward, then one example.
#include <batchnorm/batchnorm.hpp>
#include <iostream>
int main() {
  batchnorm::BatchNorm<float> bn(2);  // two features; below, three minibatches of three examples
  for (Eigen::Matrix<float, 2, 3> z{{1, 2, 6}, {50, 10, 30}}; z(0, 0) < 8; z *= 2) {
    const auto [output, batch] = bn.train(z);  // normalised with the statistics of z
    bn.state().beta -= 0.5f * bn.backward(batch, z, output).beta;  // or .gamma, .in_gradient
  }
  std::cout << bn.freeze()(Eigen::Vector2f(1, 25)).transpose().format(Eigen::IOFormat(3)) << "\n";
}
