// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_NETWORK_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_NETWORK_HPP

#include <batchnorm/batchnorm.hpp>
#include <vector>

#include "support/dense.hpp"
#include "support/digits.hpp"
#include "support/random.hpp"

namespace example {

using Moments = batchnorm::BatchNorm<float>::BatchMoments;

/// Dense, batch norm, ReLU.
struct HiddenLayer {
  Dense dense;
  batchnorm::BatchNorm<float> norm;

  /// What the forward pass of a minibatch leaves for the backward pass.
  struct Pass {
    Eigen::MatrixXf in, weighted, normalised, out;
    Moments batch;
  };

  static HiddenLayer random(Eigen::Index inputs, Eigen::Index outputs, Random& random) {
    return {Dense::random(inputs, outputs, false, random), batchnorm::BatchNorm<float>(outputs)};
  }

  Pass train(const Eigen::MatrixXf& in) {
    const Eigen::MatrixXf weighted = dense(in);
    auto [normalised, batch] = norm.train(weighted);
    const Eigen::MatrixXf out = normalised.cwiseMax(0.0f);
    return {in, weighted, normalised, out, batch};
  }

  /// One step of gradient descent; returns the gradient of the input.
  Eigen::MatrixXf descend(const Pass& pass, const Eigen::MatrixXf& out_gradient, float rate) {
    const Eigen::MatrixXf through_relu =
        (pass.normalised.array() > 0.0f).select(out_gradient, 0.0f);
    const auto [gradient, gamma, beta] = norm.backward(pass.batch, pass.weighted, through_relu);
    norm.state().gamma -= rate * gamma;
    norm.state().beta -= rate * beta;
    return dense.descend(pass.in, gradient, rate);
  }
};

/// The network at test time. It cannot see more than the images it is given: one will do.
struct FrozenNetwork {
  Dense first;
  batchnorm::FrozenBatchNorm<float> first_norm;
  Dense second;
  batchnorm::FrozenBatchNorm<float> second_norm;
  Dense last;

  Eigen::MatrixXf logits(const Eigen::MatrixXf& images) const {
    const Eigen::MatrixXf hidden = first_norm(first(images)).cwiseMax(0.0f);
    return last(second_norm(second(hidden)).cwiseMax(0.0f));
  }

  int classify(const Eigen::VectorXf& image) const {
    Eigen::Index digit = 0;
    logits(image).col(0).maxCoeff(&digit);
    return static_cast<int>(digit);
  }
};

/// 64 - 48 - 32 - 10.
struct Network {
  HiddenLayer first;
  HiddenLayer second;
  Dense last;

  static Network random(Random& random) {
    HiddenLayer first = HiddenLayer::random(pixels, 48, random);
    HiddenLayer second = HiddenLayer::random(48, 32, random);
    return {first, second, Dense::random(32, classes, true, random)};
  }

  /// What a minibatch leaves behind: its loss, and the moments of both batch norm layers.
  struct Step {
    float loss;
    Moments first, second;
  };

  /// One step of gradient descent on a minibatch.
  Step train(const Digits& minibatch, float rate) {
    const HiddenLayer::Pass one = first.train(minibatch.images);
    const HiddenLayer::Pass two = second.train(one.out);
    Eigen::MatrixXf gradient = last(two.out);
    const float loss = softmax_cross_entropy(gradient, minibatch.labels);
    const Eigen::MatrixXf to_second = last.descend(two.out, gradient, rate);
    const Eigen::MatrixXf to_first = second.descend(two, to_second, rate);
    first.descend(one, to_first, rate);
    return {loss, one.batch, two.batch};
  }

  FrozenNetwork freeze() const {
    return {first.dense, first.norm.freeze(), second.dense, second.norm.freeze(), last};
  }

  /// Says that the statistics are not those of the weights any more.
  void mark_stale(batchnorm::Staleness reason) {
    first.norm.state().mark_stale(reason);
    second.norm.state().mark_stale(reason);
  }

  /// Takes the statistics anew, of these images under the weights as they are. Layer by layer: what
  /// enters the second layer is what the first one gives at test time.
  batchnorm::ReestimationReport reestimate(const Eigen::MatrixXf& images) {
    batchnorm::ReestimationOptions options;
    options.order = batchnorm::ReestimationOrder::layer_after_layer;
    return batchnorm::reestimate<float>(
        {&first.norm, &second.norm}, {images.cols(), 256},
        [&](Eigen::Index begin, Eigen::Index count, auto& pass) {
          const auto some = images.middleCols(begin, count);
          const Eigen::MatrixXf hidden = pass(first.norm, first.dense(some)).cwiseMax(0.0f);
          pass.see(second.norm, second.dense(hidden));
        },
        options);
  }
};

/// How many images of `digits` the network reads correctly, one image at a time.
inline Eigen::Index count_right(const FrozenNetwork& network, const Digits& digits) {
  Eigen::Index right = 0;
  for (Eigen::Index image = 0; image < digits.count(); ++image) {
    if (network.classify(digits.images.col(image)) == digits.label(image)) ++right;
  }
  return right;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_NETWORK_HPP
