// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_SMALL_NETWORK_HPP
#define BATCHNORM_EXAMPLES_WEB_SMALL_NETWORK_HPP

#include <batchnorm/batchnorm.hpp>

#include "support/dense.hpp"
#include "support/digits.hpp"
#include "support/network.hpp"
#include "support/random.hpp"
#include "web/cpp/softmax.hpp"

namespace example {

constexpr Eigen::Index hidden_channels = 32;

/// 64 - 32 - 10 with one batch norm: small enough to be looked into, layer by layer.
struct SmallNetwork {
  HiddenLayer hidden;
  Dense last;

  static SmallNetwork random(Random& random) {
    HiddenLayer hidden = HiddenLayer::random(pixels, hidden_channels, random);
    return {hidden, Dense::random(hidden_channels, classes, true, random)};
  }

  /// One step of gradient descent; returns the moments of what entered the batch norm.
  Moments train(const Digits& minibatch, float rate) {
    const HiddenLayer::Pass pass = hidden.train(minibatch.images);
    const Eigen::MatrixXf gradient = cross_entropy_gradient(last(pass.out), minibatch.labels);
    hidden.descend(pass, last.descend(pass.out, gradient, rate), rate);
    return pass.batch;
  }

  /// The logits from what leaves the batch norm.
  Eigen::MatrixXf logits(const Eigen::MatrixXf& normalised) const {
    return last(normalised.cwiseMax(0.0f));
  }

  /// The moments of what enters the batch norm, over a set of images.
  Moments moments(const Eigen::MatrixXf& images) const {
    return batchnorm::moments_of(hidden.dense(images));
  }
};

/// The digit with the largest logit of every column.
inline std::vector<int> answers(const Eigen::MatrixXf& logits) {
  std::vector<int> digits;
  for (Eigen::Index image = 0; image < logits.cols(); ++image) {
    Eigen::Index digit = 0;
    logits.col(image).maxCoeff(&digit);
    digits.push_back(static_cast<int>(digit));
  }
  return digits;
}

/// How many images are read correctly with a batch norm at test time.
inline int count_right(const SmallNetwork& network, const batchnorm::FrozenBatchNorm<float>& norm,
                       const Digits& digits) {
  const std::vector<int> read = answers(network.logits(norm(network.hidden.dense(digits.images))));
  int right = 0;
  for (std::size_t image = 0; image < read.size(); ++image) {
    if (read[image] == digits.labels[image]) ++right;
  }
  return right;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_SMALL_NETWORK_HPP
