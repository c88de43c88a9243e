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
  options.epsilon = 0;  // for round numbers here; for real data leave it at 1e-5
  batchnorm::BatchNorm<float> bn(2, options);

  // Train on a minibatch of two examples, one per column, then take a step of gradient descent.
  const Eigen::MatrixXf x{{1, 3}, {10, 30}};  // means 2 and 20, deviations 1 and 10,
  const auto [y, batch] = bn.train(x);        // so y is {{-1, 1}, {-1, 1}}
  const Eigen::MatrixXf target{{-2, 2}, {0, 2}};
  const float learning_rate = 0.5f;
  const auto gradients = bn.backward(batch, x, y - target);  // loss: half of |y - target|^2
  bn.state().gamma -= learning_rate * gradients.gamma;       // from (1, 1) to (2, 1)
  bn.state().beta -= learning_rate * gradients.beta;         // from (0, 0) to (0, 1)

  // Test time: a single example, normalised with the running statistics.
  const auto frozen = bn.freeze();
  std::cout << y << "\n" << frozen(Eigen::Vector2f(3, 30)).transpose() << "\n";
}
