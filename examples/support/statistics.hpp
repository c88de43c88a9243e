// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_STATISTICS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_STATISTICS_HPP

// One trained network, many opinions about the mean and variance of what enters its batch norm
// layers. This file makes the opinions and measures how far they are from the truth.

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "support/network.hpp"

namespace example {

/// Running statistics for both batch norm layers, and where they come from.
struct Estimate {
  std::string name;
  batchnorm::State<float> first, second;
};

inline std::string describe(const batchnorm::RunningUpdate& update) {
  using Rule = batchnorm::RunningUpdate::Rule;
  std::ostringstream text;
  switch (update.rule()) {
    case Rule::exponential:
      text << "take_new(" << update.new_weight() << ")";
      break;
    case Rule::exponential_debiased:
      text << "keep_old_debiased(" << 1 - update.new_weight() << ")";
      break;
    case Rule::cumulative:
      text << "cumulative()";
      break;
    case Rule::windowed:
      text << "windowed(" << update.window() << ")";
      break;
    case Rule::population:
      text << "population()";
      break;
  }
  return text.str();
}

/// The running statistics that the network itself has kept while it trained.
inline Estimate own_statistics(const Network& network) {
  return {"running: " + describe(network.first.norm.options().running), network.first.norm.state(),
          network.second.norm.state()};
}

/// A pair of layers that learns nothing and only keeps the running statistics by another rule. It
/// is handed the moments of each minibatch: so many rules can follow one and the same training.
class Follower {
 public:
  /// @param conventions  the rule, and which variance it averages
  Follower(const std::string& name, const Network& network, const batchnorm::Options& conventions)
      : name_(name),
        first_(fresh(network.first, conventions)),
        second_(fresh(network.second, conventions)) {}

  Follower(const std::string& name, const Network& network, batchnorm::RunningUpdate update)
      : Follower(name, network, with(update)) {}

  void follow(const Network::Step& step) {
    first_.commit(step.first);
    second_.commit(step.second);
  }

  const std::string& name() const { return name_; }
  Estimate estimate() const { return {"running: " + name_, first_.state(), second_.state()}; }

 private:
  static batchnorm::BatchNorm<float> fresh(const HiddenLayer& layer,
                                           const batchnorm::Options& conventions) {
    return batchnorm::BatchNorm<float>(layer.norm.channels(), conventions);
  }
  static batchnorm::Options with(batchnorm::RunningUpdate update) {
    batchnorm::Options options;
    options.running = update;
    return options;
  }

  std::string name_;
  batchnorm::BatchNorm<float> first_, second_;
};

/// The other rules; take_new(0.1) is followed by the network itself.
inline std::vector<Follower> followers_of(const Network& network) {
  using Update = batchnorm::RunningUpdate;
  return {{"keep_old(0.99)", network, Update::keep_old(0.99)},
          {"cumulative()", network, Update::cumulative()},
          {"windowed(100)", network, Update::windowed(100)},
          {"keep_old_debiased(0.99)", network, Update::keep_old_debiased(0.99)},
          {"population()", network, Update::population()}};
}

/// The exact statistics of a set of images under the weights of a network.
inline Estimate statistics_of_all(const std::string& name, Network network,
                                  const Eigen::MatrixXf& images) {
  network.reestimate(images);
  return {name, network.first.norm.state(), network.second.norm.state()};
}

/// Mean 0 and variance 1: batch norm dropped, gamma and beta kept.
inline Estimate no_statistics(const Network& network) {
  return {"identity: mean 0, variance 1", batchnorm::State<float>(network.first.norm.channels()),
          batchnorm::State<float>(network.second.norm.channels())};
}

/// The network at test time, with its weights and somebody's statistics.
inline FrozenNetwork freeze_with(const Network& network, const Estimate& estimate) {
  const auto freeze = [](const HiddenLayer& layer, const batchnorm::State<float>& statistics) {
    batchnorm::State<float> state = layer.norm.state();
    state.running_mean = statistics.running_mean;
    state.running_variance = statistics.running_variance;
    return batchnorm::FrozenBatchNorm<float>(state, layer.norm.options());
  };
  return {network.first.dense, freeze(network.first, estimate.first), network.second.dense,
          freeze(network.second, estimate.second), network.last};
}

/// How far an estimate is from the truth, as root mean squares over all channels of both layers.
struct Distance {
  double mean;       ///< of (estimated mean - true mean) / true standard deviation
  double deviation;  ///< exp(of log(estimated standard deviation / true one)): 1 when it is right
};

inline Distance distance(const Estimate& estimate, const Estimate& truth) {
  double means = 0;
  double logs = 0;
  double channels = 0;
  const auto add = [&](const batchnorm::State<float>& is, const batchnorm::State<float>& should) {
    for (batchnorm::Index channel = 0; channel < should.channels(); ++channel) {
      const double variance = std::max(double{should.running_variance[channel]}, 1e-12);
      const double error = double{is.running_mean[channel]} - double{should.running_mean[channel]};
      const double ratio = std::max(double{is.running_variance[channel]}, 1e-12) / variance;
      means += error * error / variance;
      logs += std::log(ratio) * std::log(ratio) / 4;  // log of the root of the ratio, squared
      channels += 1;
    }
  };
  add(estimate.first, truth.first);
  add(estimate.second, truth.second);
  return {std::sqrt(means / channels), std::exp(std::sqrt(logs / channels))};
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_STATISTICS_HPP
