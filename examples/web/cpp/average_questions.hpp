// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_AVERAGE_QUESTIONS_HPP
#define BATCHNORM_EXAMPLES_WEB_AVERAGE_QUESTIONS_HPP

#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <cstddef>

#include "web/cpp/numbers.hpp"
#include "web/cpp/small_network.hpp"
#include "web/cpp/training_run.hpp"

// Questions about running statistics: what the rules make of one training. Tasks 3 to 5 of the
// page.

namespace example {

/// A rule as numbers: 0 take_new(weight), 1 keep_old(weight), 2 keep_old_debiased(weight),
/// 3 cumulative().
inline batchnorm::RunningUpdate rule_of(double kind, double weight) {
  using Update = batchnorm::RunningUpdate;
  if (kind < 0.5) return Update::take_new(weight);
  if (kind < 1.5) return Update::keep_old(weight);
  return kind < 2.5 ? Update::keep_old_debiased(weight) : Update::cumulative();
}

/// A layer with nothing but the running statistics of the first `count` minibatches.
/// @param look  called with the state after each
template <class Look>
Norm follow(const TrainingRun& run, batchnorm::RunningUpdate rule, int count, Look&& look) {
  batchnorm::Options options;
  options.running = rule;
  Norm norm(hidden_channels, options);
  for (int k = 0; k < count; ++k) {
    norm.commit(run.moments()[static_cast<std::size_t>(k)]);
    look(norm.state());
  }
  return norm;
}
inline Norm follow(const TrainingRun& run, batchnorm::RunningUpdate rule, int count) {
  return follow(run, rule, count, [](const auto&) {});
}

/// {channel, kind, weight, first, count}: the running mean of a channel after minibatches first to
/// first + count - 1.
inline Numbers running_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  const auto first = static_cast<std::size_t>(asked[3]), count = static_cast<std::size_t>(asked[4]);
  Numbers means;
  follow(run, rule_of(asked[1], asked[2]), static_cast<int>(first + count),
         [&](const auto& state) { means.push_back(double{state.running_mean[channel]}); });
  means.erase(means.begin(), means.begin() + static_cast<std::ptrdiff_t>(first));
  return means;
}

/// {channel, first, count}: the means of the minibatches themselves.
inline Numbers minibatch_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  Numbers means;
  for (double k = asked[1]; k < asked[1] + asked[2]; ++k) {
    means.push_back(run.moments()[static_cast<std::size_t>(k)].mean[channel]);
  }
  return means;
}

/// {channel}: the mean over the whole training set under the weights of each of the first
/// minibatches.
inline Numbers whole_set_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  Numbers means;
  for (const Eigen::MatrixXf& weight : run.weights()) {
    const Eigen::MatrixXf row = weight.row(channel) * run.data().training.images;
    means.push_back(double{batchnorm::moments_of(row).mean[0]});
  }
  return means;
}

/// A network at test time with the running statistics of another layer.
inline FrozenNorm with_statistics(const SmallNetwork& network, const Norm& statistics) {
  batchnorm::State<float> state = network.hidden.norm.state();
  state.running_mean = statistics.state().running_mean;
  state.running_variance = statistics.state().running_variance;
  return FrozenNorm(state, network.hidden.norm.options());
}

/// How far the means are from those of a whole set, in its standard deviations: the root of the
/// mean square over all channels.
inline double distance(const Norm& norm, const Moments& whole) {
  double sum = 0.0;
  for (Eigen::Index channel = 0; channel < hidden_channels; ++channel) {
    const double off = double{norm.state().running_mean[channel]} - double{whole.mean[channel]};
    sum += off * off / double{whole.population_variance()[channel]};
  }
  return std::sqrt(sum / double{hidden_channels});
}

/// {stop, kind, weight}: after 20, 100 or 1000 minibatches (stop 0, 1 or 2), how far the estimate
/// of a rule is from the whole training set, and how many test images are read with it. Kind 4 is
/// the whole set itself, re-estimated.
inline Numbers estimate(const TrainingRun& run, const Numbers& asked) {
  const auto stop = static_cast<std::size_t>(asked[0]);
  const SmallNetwork& network = run.kept(stop);
  const Moments whole = network.moments(run.data().training.images);
  const auto read = [&](const Norm& norm) {
    const int right = count_right(network, with_statistics(network, norm), run.data().test);
    return Numbers{distance(norm, whole), static_cast<double>(right)};
  };
  if (asked[1] < 3.5) {
    return read(follow(run, rule_of(asked[1], asked[2]), TrainingRun::stops[stop]));
  }
  Norm again = network.hidden.norm;
  batchnorm::reestimate(
      again, {run.data().training.count(), 256},
      [&](Eigen::Index begin, Eigen::Index count) -> Eigen::MatrixXf {
        return network.hidden.dense(run.data().training.images.middleCols(begin, count));
      });
  return read(again);
}

/// {kind, weight}: how many test images the trained network reads with the statistics of a rule.
inline Numbers accuracy(const TrainingRun& run, const Numbers& asked) {
  const Norm norm = follow(run, rule_of(asked[0], asked[1]), run.done());
  const SmallNetwork& network = run.network();
  return {
      static_cast<double>(count_right(network, with_statistics(network, norm), run.data().test))};
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_AVERAGE_QUESTIONS_HPP
