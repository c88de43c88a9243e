// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PARALLEL_NETWORK_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PARALLEL_NETWORK_HPP

// The digits network for data-parallel training, in double, so that what the order of sums changes
// stays small over a whole training.

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <batchnorm/io/safetensors.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/dense.hpp"
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

/// Gradients that are added up over all ranks at once: one message for all of them.
class GradientBucket {
 public:
  template <class Gradient>
  void add(Gradient& gradient) {
    parts_.push_back({gradient.data(), gradient.size()});
    size_ += gradient.size();
  }

  void sum(const Ranks& ranks) {
    Eigen::VectorXd all(size_);
    Eigen::Index at = 0;
    for (const auto& [data, size] : parts_) {
      std::copy_n(data, size, all.data() + at);
      at += size;
    }
    ranks.sum(all.data(), size_);
    at = 0;
    for (const auto& [data, size] : parts_) {
      std::copy_n(all.data() + at, size, data);
      at += size;
    }
  }

 private:
  std::vector<std::pair<double*, Eigen::Index>> parts_;
  Eigen::Index size_ = 0;
};

/// Dense without a bias, batch norm with a ReLU behind it.
class ParallelLayer {
 public:
  ParallelLayer(int number, Eigen::Index outputs, Eigen::Index inputs, Random& random)
      : number_(number),
        weight_(random_weight<double>(outputs, inputs, random)),
        norm_(outputs, options()) {}

  Eigen::MatrixXd train(const Eigen::MatrixXd& in, const Ranks& ranks) {
    in_ = in;
    weighted_ = weight_ * in;
    auto [out, batch] = norm_.train(weighted_, ranks.layer(number_));
    batch_ = batch;
    return std::move(out);
  }

  /// Keeps the parameters' gradients of this rank, puts them into the bucket; returns the input's.
  Eigen::MatrixXd backward(const Eigen::MatrixXd& out_gradient, const Ranks& ranks,
                           GradientBucket& bucket) {
    auto [gradient, gamma, beta] =
        norm_.backward(batch_, weighted_, out_gradient, ranks.layer(number_));
    of_weight_ = gradient * in_.transpose();
    of_gamma_ = gamma;
    of_beta_ = beta;
    bucket.add(of_weight_);
    bucket.add(of_gamma_);
    bucket.add(of_beta_);
    return weight_.transpose() * gradient;
  }

  void descend(double rate) {
    weight_ -= rate * of_weight_;
    norm_.state().gamma -= rate * of_gamma_;
    norm_.state().beta -= rate * of_beta_;
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
  Eigen::MatrixXd in_, weighted_, of_weight_;
  Eigen::VectorXd of_gamma_, of_beta_;
  batchnorm::BatchNorm<double>::BatchMoments batch_;
};

/// 64 - 48 - 32 - 10.
class ParallelNetwork {
 public:
  explicit ParallelNetwork(Random& random)
      : first_(1, 48, pixels, random),
        second_(2, 32, 48, random),
        weight_(random_weight<double>(classes, 32, random)),
        bias_(Eigen::VectorXd::Zero(classes)) {}

  /// One step of gradient descent on a minibatch of `all` images, of which this rank has a shard,
  /// perhaps an empty one.
  /// @return the mean loss of all images
  double train(const Digits& shard, Eigen::Index all, double rate, const Ranks& ranks) {
    const Eigen::MatrixXd one = first_.train(shard.images.cast<double>(), ranks);
    const Eigen::MatrixXd two = second_.train(one, ranks);
    Eigen::MatrixXd gradient = logits(two);
    // Divided by the number of all images: sums over ranks are means over images.
    Eigen::VectorXd loss(1);
    loss[0] = softmax_cross_entropy(gradient, shard.labels, all);
    Eigen::MatrixXd of_weight = gradient * two.transpose();
    Eigen::VectorXd of_bias = gradient.rowwise().sum();
    GradientBucket bucket;
    bucket.add(loss);
    bucket.add(of_weight);
    bucket.add(of_bias);
    first_.backward(second_.backward(weight_.transpose() * gradient, ranks, bucket), ranks, bucket);
    bucket.sum(ranks);
    weight_ -= rate * of_weight;
    bias_ -= rate * of_bias;
    first_.descend(rate);
    second_.descend(rate);
    return loss[0];
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
