// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_ADAPTATION_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_ADAPTATION_HPP

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <string>

#include "support/digits.hpp"
#include "support/network.hpp"

// A network at test time whose norms adapt to the images that it is shown.

namespace example {

/// Both norms adapt, the first one first: what enters the second is what the adapted first gives.
class AdaptiveNetwork {
 public:
  AdaptiveNetwork(const Network& network, const batchnorm::Adaptation& how)
      : network_(network), first_(network.first.norm, how), second_(network.second.norm, how) {}

  /// Learns from some images what their statistics are.
  void see(const Eigen::MatrixXf& images) {
    const Eigen::MatrixXf weighted = network_.first.dense(images);
    first_.see(batchnorm::moments_of(weighted));
    const Eigen::MatrixXf hidden = first_.freeze()(weighted).cwiseMax(0.0f);
    second_.see(batchnorm::moments_of(network_.second.dense(hidden)));
  }

  void forget() {
    first_.forget_target();
    second_.forget_target();
  }

  FrozenNetwork freeze() const {
    return {network_.first.dense, first_.freeze(), network_.second.dense, second_.freeze(),
            network_.last};
  }

 private:
  const Network& network_;
  batchnorm::AdaptiveBatchNorm<float> first_, second_;
};

/// A rule, and whether it keeps what it has seen or looks at one group of images alone.
struct Method {
  std::string name;
  batchnorm::Adaptation how;
  bool is_stream = false;
};

/// Whether a method leaves nothing but the target, which one image cannot be.
inline bool is_target_alone(const batchnorm::Adaptation& how) {
  return how.rule() == batchnorm::Adaptation::Rule::prior && !(how.prior_values() > 0.0);
}

/// A network that normalises one image with its own statistics, as others do: it gives beta,
/// whatever the image shows.
inline FrozenNetwork without_input(const Network& network) {
  const auto freeze = [](const batchnorm::BatchNorm<float>& norm) {
    return batchnorm::FrozenBatchNorm<float>::from_scale_and_shift(
        Eigen::VectorXf::Zero(norm.channels()), norm.state().beta);
  };
  return {network.first.dense, freeze(network.first.norm), network.second.dense,
          freeze(network.second.norm), network.last};
}

/// How many images a network reads that come in groups: each group is seen, then read.
inline Eigen::Index count_right_adapted(const Network& network, const Method& method,
                                        const Digits& digits, Eigen::Index group) {
  AdaptiveNetwork adaptive(network, method.how);
  Eigen::Index right = 0;
  for (Eigen::Index begin = 0; begin < digits.count(); begin += group) {
    const Eigen::Index end = std::min(begin + group, digits.count());
    const bool alone = end - begin == 1 && is_target_alone(method.how);
    if (!method.is_stream) adaptive.forget();
    if (!alone) adaptive.see(digits.images.middleCols(begin, end - begin));
    const FrozenNetwork frozen = alone ? without_input(network) : adaptive.freeze();
    for (Eigen::Index image = begin; image < end; ++image) {
      if (frozen.classify(digits.images.col(image)) == digits.label(image)) ++right;
    }
  }
  return right;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_ADAPTATION_HPP
