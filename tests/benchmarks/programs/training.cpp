// SPDX-License-Identifier: MIT
// What a program that trains has to compile: train, backward and the frozen layer.
#include <batchnorm/batchnorm.hpp>

Eigen::MatrixXf learn(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x,
                      const Eigen::MatrixXf& target) {
  const float learning_rate = 0.1f;
  const auto [y, batch] = layer.train(x);
  const auto gradients = layer.backward(batch, x, y - target);
  layer.state().gamma -= learning_rate * gradients.gamma;
  layer.state().beta -= learning_rate * gradients.beta;
  return layer.freeze()(x);
}
