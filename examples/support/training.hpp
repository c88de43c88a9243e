// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_TRAINING_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_TRAINING_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "support/digits.hpp"
#include "support/network.hpp"
#include "support/progress.hpp"
#include "support/random.hpp"

namespace example {

constexpr Eigen::Index batch_size = 8;
constexpr float first_rate = 0.3f;  // of the gradient descent; sinks to 0 along a straight line

/// How far a training is.
struct Position {
  Eigen::Index minibatches;  ///< done
  int epochs;                ///< completed
  bool epoch_ends;           ///< with this minibatch
};

/// Trains a network on minibatches in random order.
/// @param look  called after each step with what it left behind and a Position
template <class Look>
void train(Network& network, const Digits& digits, int epochs, Random& random, Look&& look) {
  std::vector<Eigen::Index> order(static_cast<std::size_t>(digits.count()));
  std::iota(order.begin(), order.end(), 0);
  ProgressLine progress;
  Eigen::Index minibatches = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const float rate = first_rate * (1 - static_cast<float>(epoch) / static_cast<float>(epochs));
    float loss = 0;
    random.shuffle(order);
    for (auto begin = order.begin(); begin != order.end();) {
      const auto end = begin + std::min<std::ptrdiff_t>(batch_size, order.end() - begin);
      const Network::Step step = network.train(digits.pick(begin, end), rate);
      loss += step.loss * static_cast<float>(end - begin) / static_cast<float>(digits.count());
      begin = end;
      const bool epoch_ends = end == order.end();
      look(step, Position{++minibatches, epoch + (epoch_ends ? 1 : 0), epoch_ends});
    }
    progress.show(epoch + 1, epochs, loss);
  }
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_TRAINING_HPP
