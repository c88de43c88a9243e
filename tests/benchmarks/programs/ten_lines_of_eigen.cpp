// SPDX-License-Identifier: MIT
// What training.cpp does, by hand: compiled for comparison. programs.test.cpp shows that both
// compute the same.
#include <Eigen/Core>

struct LayerOfEigen {
  Eigen::ArrayXf gamma, beta, running_mean, running_variance;
  Eigen::ArrayXXf in_gradient;
};

Eigen::MatrixXf learn(LayerOfEigen& layer, const Eigen::MatrixXf& x,
                      const Eigen::MatrixXf& target) {
  const float learning_rate = 0.1f, new_weight = 0.1f, epsilon = 1e-5f;
  const float count = static_cast<float>(x.cols());
  const Eigen::ArrayXf mean = x.rowwise().mean();
  const Eigen::ArrayXXf centred = x.array().colwise() - mean;
  const Eigen::ArrayXf variance = centred.square().rowwise().mean();
  const Eigen::ArrayXf inverse = (variance + epsilon).rsqrt();
  const Eigen::ArrayXXf xhat = centred.colwise() * inverse;
  layer.running_mean += new_weight * (mean - layer.running_mean);
  layer.running_variance += new_weight * (count / (count - 1) * variance - layer.running_variance);
  const Eigen::ArrayXXf dy = (xhat.colwise() * layer.gamma).colwise() + layer.beta - target.array();
  const Eigen::ArrayXf dgamma = (dy * xhat).rowwise().sum();
  const Eigen::ArrayXf dbeta = dy.rowwise().sum();
  layer.in_gradient = (dy.colwise() - dbeta / count - xhat.colwise() * (dgamma / count)).colwise() *
                      (layer.gamma * inverse);
  layer.gamma -= learning_rate * dgamma;
  layer.beta -= learning_rate * dbeta;
  const Eigen::ArrayXf scale = layer.gamma * (layer.running_variance + epsilon).rsqrt();
  return ((x.array().colwise() - layer.running_mean).colwise() * scale).colwise() + layer.beta;
}
