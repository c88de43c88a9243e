// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_DENSE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_DENSE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "support/random.hpp"

namespace example {

/// The share of the weights that is taken away per step and unit of rate: weights that the data do
/// not ask for die out, and what is learned carries further than the training images.
constexpr float weight_decay = 0.001f;

/// y = W x + b, one example per column. A layer that batch norm follows has no b: the mean that
/// batch norm takes away would take b with it.
struct Dense {
  Eigen::MatrixXf weight;  ///< outputs x inputs, as PyTorch stores it
  Eigen::VectorXf bias;    ///< empty when there is none

  /// Random weights of variance 2 / inputs, for ReLU (He et al. 2015, arXiv:1502.01852, eq. 10).
  static Dense random(Eigen::Index inputs, Eigen::Index outputs, bool has_bias, Random& random) {
    const double deviation = std::sqrt(2.0 / static_cast<double>(inputs));
    Dense layer{Eigen::MatrixXf(outputs, inputs), Eigen::VectorXf::Zero(has_bias ? outputs : 0)};
    for (float& w : layer.weight.reshaped()) w = static_cast<float>(deviation * random.normal());
    return layer;
  }

  Eigen::MatrixXf operator()(const Eigen::MatrixXf& in) const {
    Eigen::MatrixXf out = weight * in;
    if (bias.size() > 0) out.colwise() += bias;
    return out;
  }

  /// One step of gradient descent; returns the gradient of the input.
  Eigen::MatrixXf descend(const Eigen::MatrixXf& in, const Eigen::MatrixXf& out_gradient,
                          float rate) {
    Eigen::MatrixXf in_gradient = weight.transpose() * out_gradient;
    weight *= 1 - rate * weight_decay;
    weight -= rate * out_gradient * in.transpose();
    if (bias.size() > 0) bias -= rate * out_gradient.rowwise().sum();
    return in_gradient;
  }
};

/// The mean cross entropy of softmax(logits), whose gradient takes the place of the logits.
inline float softmax_cross_entropy(Eigen::MatrixXf& logits, const std::vector<int>& labels) {
  const auto count = static_cast<float>(logits.cols());
  float loss = 0;
  for (Eigen::Index example = 0; example < logits.cols(); ++example) {
    const int label = labels[static_cast<std::size_t>(example)];
    auto column = logits.col(example).array();
    column = (column - column.maxCoeff()).exp().eval();  // the largest is taken away: no overflow
    column /= column.sum();
    loss -= std::log(std::max(column(label), 1e-30f)) / count;
    column(label) -= 1;
  }
  logits /= count;
  return loss;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DENSE_HPP
