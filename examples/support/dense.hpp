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

/// Random weights of variance 2 / inputs, for ReLU (He et al. 2015, arXiv:1502.01852, eq. 10).
template <class Scalar>
Eigen::MatrixX<Scalar> random_weight(Eigen::Index outputs, Eigen::Index inputs, Random& random) {
  Eigen::MatrixX<Scalar> weight(outputs, inputs);
  const double deviation = std::sqrt(2.0 / static_cast<double>(inputs));
  for (Scalar& w : weight.reshaped()) w = static_cast<Scalar>(deviation * random.normal());
  return weight;
}

/// y = W x + b, one example per column. A layer that batch norm follows has no b: the mean that
/// batch norm takes away would take b with it.
struct Dense {
  Eigen::MatrixXf weight;  ///< outputs x inputs, as PyTorch stores it
  Eigen::VectorXf bias;    ///< empty when there is none

  static Dense random(Eigen::Index inputs, Eigen::Index outputs, bool has_bias, Random& random) {
    return {random_weight<float>(outputs, inputs, random),
            Eigen::VectorXf::Zero(has_bias ? outputs : 0)};
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

/// The cross entropy of softmax(logits), summed and divided by `all` examples, of which these may
/// be a part. Its gradient takes the place of the logits.
template <class Scalar>
Scalar softmax_cross_entropy(Eigen::MatrixX<Scalar>& logits, const std::vector<int>& labels,
                             Eigen::Index all) {
  const auto count = static_cast<Scalar>(all);
  Scalar loss = 0;
  for (Eigen::Index example = 0; example < logits.cols(); ++example) {
    const int label = labels[static_cast<std::size_t>(example)];
    auto column = logits.col(example).array();
    column = (column - column.maxCoeff()).exp().eval();  // the largest is taken away: no overflow
    column /= column.sum();
    loss -= std::log(std::max(column(label), Scalar(1e-30))) / count;
    column(label) -= 1;
  }
  logits /= count;
  return loss;
}

/// Their mean cross entropy.
inline float softmax_cross_entropy(Eigen::MatrixXf& logits, const std::vector<int>& labels) {
  return softmax_cross_entropy(logits, labels, logits.cols());
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DENSE_HPP
