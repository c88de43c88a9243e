// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_TRAINING_RUN_HPP
#define BATCHNORM_EXAMPLES_WEB_TRAINING_RUN_HPP

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "support/digits.hpp"
#include "support/random.hpp"
#include "web/cpp/small_network.hpp"

namespace example {

/// One training, in steps, and what is remembered of it: the moments of every minibatch, so that
/// any rule of the running statistics can be followed through it afterwards, the first weights, and
/// the network at three times.
class TrainingRun {
 public:
  static constexpr Eigen::Index minibatch_size = 16;
  static constexpr int epochs = 12;
  static constexpr float first_rate = 0.3f;  ///< sinks to 0 along a straight line
  static constexpr std::size_t remembered_weights = 200;
  static constexpr int stops[] = {20, 100, 1000};  ///< minibatches after which the network is kept

  TrainingRun(DigitsData data, std::uint64_t seed)
      : data_(std::move(data)), random_(seed), network_(SmallNetwork::random(random_)) {
    order_.resize(static_cast<std::size_t>(data_.training.count()));
    std::iota(order_.begin(), order_.end(), 0);
  }

  int total() const {
    return epochs *
           static_cast<int>((data_.training.count() + minibatch_size - 1) / minibatch_size);
  }
  int done() const { return static_cast<int>(moments_.size()); }

  /// Trains on the next minibatch.
  void step() {
    if (next_ == 0) random_.shuffle(order_);
    const std::size_t end = std::min(next_ + std::size_t{minibatch_size}, order_.size());
    const auto at = [&](std::size_t place) {
      return order_.begin() + static_cast<std::ptrdiff_t>(place);
    };
    if (weights_.size() < remembered_weights) weights_.push_back(network_.hidden.dense.weight);
    const float rate =
        first_rate * (1.0f - static_cast<float>(done()) / static_cast<float>(total()));
    moments_.push_back(network_.train(data_.training.pick(at(next_), at(end)), rate));
    next_ = end == order_.size() ? 0 : end;
    for (const int stop : stops) {
      if (stop == done()) kept_.push_back(network_);
    }
  }

  const DigitsData& data() const { return data_; }
  const SmallNetwork& network() const { return network_; }
  /// Of the minibatches so far, under the weights of their time.
  const std::vector<Moments>& moments() const { return moments_; }
  /// Of the first layer, as the first minibatches met them.
  const std::vector<Eigen::MatrixXf>& weights() const { return weights_; }
  /// The network after stops[k] minibatches.
  const SmallNetwork& kept(std::size_t k) const { return kept_.at(k); }

 private:
  DigitsData data_;
  Random random_;
  SmallNetwork network_;
  std::vector<Eigen::Index> order_;
  std::size_t next_ = 0;
  std::vector<Moments> moments_;
  std::vector<Eigen::MatrixXf> weights_;
  std::vector<SmallNetwork> kept_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_TRAINING_RUN_HPP
