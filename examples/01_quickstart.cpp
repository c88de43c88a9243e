// SPDX-License-Identifier: MIT
// The quick start of the README: trains on one minibatch, takes one step of gradient descent, and
// normalises one example.
//
// Prints exactly
//
//   -1  1
//   -1  1
//   2 2
#include <batchnorm/batchnorm.hpp>
#include <iostream>

int main() {
  // A layer of two features, whose running statistics are those of all data seen so far.
  batchnorm::Options options = batchnorm::Options::flax();  // or pytorch(), keras(), onnx(), ...
  options.running = batchnorm::RunningUpdate::population();
  batchnorm::BatchNorm<float> bn(2, options);

  // Train on a minibatch of two examples, one per column, then take a step of gradient descent.
  const Eigen::MatrixXf x{{1, 3}, {10, 30}};
  const auto [y, batch] = bn.train(x);
  const Eigen::MatrixXf target{{-2, 2}, {0, 2}};  // loss: half of |y - target|^2
  const float learning_rate = 0.5f;
  const auto gradients = bn.backward(batch, x, y - target);  // in_gradient: for the layer before
  bn.state().gamma -= learning_rate * gradients.gamma;
  bn.state().beta -= learning_rate * gradients.beta;

  // Test time: a single example, normalised with the running statistics.
  const auto frozen = bn.freeze();
  std::cout.precision(3);
  std::cout << y << "\n" << frozen(Eigen::Vector2f(3, 30)).transpose() << "\n";
}
