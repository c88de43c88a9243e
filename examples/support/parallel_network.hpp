// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PARALLEL_NETWORK_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PARALLEL_NETWORK_HPP

// The digits network for data-parallel training, in double, so that what the order of sums changes
// stays small over a whole training.

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <batchnorm/io/safetensors.hpp>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "support/digits.hpp"
#include "support/random.hpp"

namespace example {

/// What an example has of other ranks, without a word of MPI.
struct Ranks {
  /// For layer number n of the network.
  std::function<batchnorm::Execution(int)> layer = [](int) { return batchnorm::Execution(); };
  /// Adds up numbers over all ranks, in place.
  std::function<void(double*, Eigen::Index)> sum = [](double*, Eigen::Index) {};
};

inline Eigen::MatrixXd random_weight(Eigen::Index outputs, Eigen::Index inputs, Random& random) {
  Eigen::MatrixXd weight(outputs, inputs);
  const double deviation = std::sqrt(2.0 / static_cast<double>(inputs));
  for (double& w : weight.reshaped()) w = deviation * random.normal();
  return weight;
}

/// Dense without a bias, batch norm with a ReLU behind it.
class ParallelLayer {
 public:
  ParallelLayer(int number, Eigen::Index outputs, Eigen::Index inputs, Random& random)
      : number_(number),
        weight_(random_weight(outputs, inputs, random)),
        norm_(outputs, options()) {}

  Eigen::MatrixXd train(const Eigen::MatrixXd& in, const Ranks& ranks) {
    in_ = in;
    weighted_ = weight_ * in;
    auto [out, batch] = norm_.train(weighted_, ranks.layer(number_));
    batch_ = batch;
    return std::move(out);
  }

  /// One step of gradient descent with the gradients of all ranks; returns the input's.
  Eigen::MatrixXd descend(const Eigen::MatrixXd& out_gradient, double rate, const Ranks& ranks) {
    auto [gradient, gamma, beta] =
        norm_.backward(batch_, weighted_, out_gradient, ranks.layer(number_));
    Eigen::MatrixXd in_gradient = weight_.transpose() * gradient;
    Eigen::MatrixXd of_weight = gradient * in_.transpose();
    ranks.sum(of_weight.data(), of_weight.size());
    ranks.sum(gamma.data(), gamma.size());
    ranks.sum(beta.data(), beta.size());
    weight_ -= rate * of_weight;
    norm_.state().gamma -= rate * gamma;
    norm_.state().beta -= rate * beta;
    return in_gradient;
  }

  Eigen::MatrixXd infer(const Eigen::MatrixXd& in) const {
    return norm_.infer(Eigen::MatrixXd(weight_ * in));
  }

  void save(batchnorm::Tensors& tensors, const std::string& name) const {
    tensors.set(name + ".dense.weight", weight_);
    batchnorm::save_state(tensors, name + ".norm.", norm_.state(), norm_.options());
  }

 private:
  static batchnorm::Options options() {
    batchnorm::Options options;
    options.epilogue = batchnorm::Epilogue::relu();
    return options;
  }

  int number_;
  Eigen::MatrixXd weight_;
  batchnorm::BatchNorm<double> norm_;
  Eigen::MatrixXd in_, weighted_;
  batchnorm::BatchNorm<double>::BatchMoments batch_;
};

/// 64 - 48 - 32 - 10.
class ParallelNetwork {
 public:
  explicit ParallelNetwork(Random& random)
      : first_(1, 48, pixels, random),
        second_(2, 32, 48, random),
        weight_(random_weight(classes, 32, random)),
        bias_(Eigen::VectorXd::Zero(classes)) {}

  /// One step of gradient descent on a minibatch of `all` images, of which this rank has a shard,
  /// perhaps an empty one.
  /// @return the mean loss of all images
  double train(const Digits& shard, Eigen::Index all, double rate, const Ranks& ranks) {
    const Eigen::MatrixXd one = first_.train(shard.images.cast<double>(), ranks);
    const Eigen::MatrixXd two = second_.train(one, ranks);
    Eigen::MatrixXd gradient = logits(two);
    double loss = 0;
    for (Eigen::Index image = 0; image < shard.count(); ++image) {
      auto column = gradient.col(image).array();
      column = (column - column.maxCoeff()).exp().eval();
      column /= column.sum();
      loss -= std::log(std::max(column(shard.label(image)), 1e-300));
      column(shard.label(image)) -= 1;
    }
    gradient /= static_cast<double>(all);  // sums over ranks are means over images
    ranks.sum(&loss, 1);
    Eigen::MatrixXd of_weight = gradient * two.transpose();
    Eigen::VectorXd of_bias = gradient.rowwise().sum();
    ranks.sum(of_weight.data(), of_weight.size());
    ranks.sum(of_bias.data(), of_bias.size());
    const Eigen::MatrixXd to_second = weight_.transpose() * gradient;
    weight_ -= rate * of_weight;
    bias_ -= rate * of_bias;
    first_.descend(second_.descend(to_second, rate, ranks), rate, ranks);
    return loss / static_cast<double>(all);
  }

  Eigen::Index count_right(const Digits& digits) const {
    const Eigen::MatrixXd scores =
        logits(second_.infer(first_.infer(digits.images.cast<double>())));
    Eigen::Index right = 0;
    for (Eigen::Index image = 0; image < digits.count(); ++image) {
      Eigen::Index digit = 0;
      scores.col(image).maxCoeff(&digit);
      if (digit == digits.label(image)) ++right;
    }
    return right;
  }

  void save(const std::string& path) const {
    batchnorm::Tensors tensors;
    first_.save(tensors, "first");
    second_.save(tensors, "second");
    tensors.set("last.weight", weight_);
    tensors.set("last.bias", bias_);
    batchnorm::write_safetensors(path, tensors);
  }

 private:
  Eigen::MatrixXd logits(const Eigen::MatrixXd& hidden) const {
    return (weight_ * hidden).colwise() + bias_;
  }

  ParallelLayer first_, second_;
  Eigen::MatrixXd weight_;
  Eigen::VectorXd bias_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_PARALLEL_NETWORK_HPP
