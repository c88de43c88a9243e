// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_ESTIMATORS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_ESTIMATORS_HPP

#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdio>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/digits.hpp"
#include "support/network.hpp"
#include "support/picture.hpp"
#include "support/report.hpp"
#include "support/statistics.hpp"
#include "support/training.hpp"

// The running statistics of the systems, followed through one training, and how they are reported.

namespace example {

/// The rules of the systems; n and n - 1 say which variance of a minibatch is averaged.
inline std::vector<Follower> followers_of_systems(const Network& network) {
  using batchnorm::Options;
  Options pooled;
  pooled.running = batchnorm::RunningUpdate::population();
  return {{"take_new(0.1), n - 1", network, Options::pytorch()},
          {"keep_old(0.9), n", network, Options::onnx()},
          {"keep_old_debiased(0.9), n", network, Options::haiku(0.9)},
          {"keep_old(0.99), n", network, Options::keras()},
          {"keep_old_debiased(0.99), n", network, Options::haiku(0.99)},
          {"windowed(100), n - 1", network, Options::dlib()},
          {"cumulative(), n - 1", network, Options::paper()},
          {"population()", network, pooled}};
}

/// All estimates at one time of the training.
struct Snapshot {
  Position at;
  std::vector<Distance> distances;  ///< from the population, one per follower
  std::vector<double> accuracies;   ///< in per cent: one per follower, of the population, of none
};

inline Snapshot snapshot(const Position& at, const Network& network,
                         const std::vector<Follower>& followers, const DigitsData& data) {
  const Estimate population = statistics_of_all("population", network, data.training.images);
  Snapshot taken{at, {}, {}};
  const auto read_with = [&](const Estimate& estimate) {
    const FrozenNetwork frozen = freeze_with(network, estimate);
    taken.accuracies.push_back(percent(count_right(frozen, data.test), data.test.count()));
  };
  for (const Follower& follower : followers) {
    taken.distances.push_back(distance(follower.estimate(), population));
    read_with(follower.estimate());
  }
  read_with(population);
  read_with(no_statistics(network));
  return taken;
}

/// One line per epoch, one column per follower.
inline void print_distances(const std::vector<Follower>& followers,
                            const std::vector<Snapshot>& snapshots) {
  std::printf(
      "How far each estimate is from the population, the statistics of all training images\n"
      "under the weights of the moment: of the means in standard deviations, and of the\n"
      "standard deviations as a factor; root mean square over all channels.\n\n");
  for (std::size_t f = 0; f < followers.size(); ++f) {
    std::printf("  %c  %s\n", static_cast<char>('a' + f), followers[f].name().c_str());
  }
  std::printf("\nepoch");
  for (std::size_t f = 0; f < followers.size(); ++f) {
    std::printf("      %c     ", static_cast<char>('a' + f));
  }
  std::printf("\n");
  for (const Snapshot& taken : snapshots) {
    if (!taken.at.epoch_ends) continue;
    std::printf("%4d ", taken.at.epochs);
    for (const Distance& off : taken.distances)
      std::printf("  %.2f x%4.2f", off.mean, off.deviation);
    std::printf("\n");
  }
}

/// One line per estimate, one column per snapshot.
inline void print_accuracies(const std::vector<Follower>& followers,
                             const std::vector<Snapshot>& snapshots) {
  std::printf("\ntest accuracy, one image at a time, in %%\n\nafter minibatch              ");
  for (const Snapshot& taken : snapshots) {
    std::printf("%8d", static_cast<int>(taken.at.minibatches));
  }
  std::printf("\n");
  for (std::size_t row = 0; row < followers.size() + 2; ++row) {
    const std::string name = row < followers.size()    ? followers[row].name()
                             : row == followers.size() ? "population, re-estimated"
                                                       : "none: mean 0, variance 1";
    std::printf("%-29s", name.c_str());
    for (const Snapshot& taken : snapshots) std::printf("%8.1f", taken.accuracies[row]);
    std::printf("\n");
  }
}

/// All numbers as comma-separated values.
inline std::string table_of(const std::vector<Follower>& followers,
                            const std::vector<Snapshot>& snapshots) {
  std::ostringstream table;
  table << "minibatches,epochs,estimate,mean_off_in_deviations,deviation_off_as_factor,"
           "test_accuracy_in_percent\n";
  for (const Snapshot& taken : snapshots) {
    const auto line = [&](const std::string& name, double mean, double deviation, std::size_t row) {
      table << taken.at.minibatches << "," << taken.at.epochs << ",\"" << name << "\"," << mean
            << "," << deviation << "," << taken.accuracies[row] << "\n";
    };
    for (std::size_t f = 0; f < followers.size(); ++f) {
      line(followers[f].name(), taken.distances[f].mean, taken.distances[f].deviation, f);
    }
    line("population", 0, 1, followers.size());
  }
  return table.str();
}

/// How far the means are off, over the training. Of estimates whose means are the same, or nearly
/// so, one is drawn.
inline void save_picture(const std::string& path, const std::vector<Snapshot>& snapshots) {
  Picture picture("Running means beside the means of all training images", "minibatches of 8",
                  "off by, in standard deviations");
  picture.set("logscale xy");
  picture.set("xrange [20:*]");
  picture.set("key outside right top Left reverse");
  Picture::Rows rows;
  for (const Snapshot& taken : snapshots) {
    rows.push_back({static_cast<double>(taken.at.minibatches)});
    for (const Distance& off : taken.distances) rows.back().push_back(off.mean);
  }
  picture.rows(rows);
  const std::vector<std::pair<std::size_t, std::string>> curves = {
      {0, "take_new(0.1), keep_old(0.9)"},
      {2, "keep_old_debiased(0.9)"},
      {3, "keep_old(0.99)"},
      {4, "keep_old_debiased(0.99)"},
      {5, "windowed(100)"},
      {6, "cumulative(), population()"}};
  for (const auto& [f, title] : curves) {
    picture.draw("using 1:" + std::to_string(f + 2) + " with linespoints lw 2 ps 0.6 pt " +
                     std::to_string(f + 4) + " " + colour(f),
                 title);
  }
  picture.save(path);
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_ESTIMATORS_HPP
