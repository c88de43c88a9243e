// SPDX-License-Identifier: MIT
// Is batch norm robust to how its mean and variance are estimated? The network of 02_digits learns
// to read, and the running statistics of eight systems follow one and the same training. After each
// epoch they are compared with the statistics of all training images under the weights of the
// moment; after 20, 100 and 1000 minibatches and at the end, images are read with each, one by one.
//
//   07_estimators [--data FILE] [--csv FILE] [--plot FILE.svg] [--epochs N] [--seed N]
//
// Prints, among other things (another compiler or processor may change the last digits),
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//   ...
//   after minibatch                    20     100    1000    3600
//   take_new(0.1), n - 1             69.4    87.8    97.2    98.9
//   keep_old(0.9), n                 69.2    87.8    96.9    98.9
//   keep_old_debiased(0.9), n        74.4    87.8    96.9    98.9
//   keep_old(0.99), n                39.7    67.5    95.6    98.9
//   keep_old_debiased(0.99), n       74.4    82.2    95.6    98.9
//   windowed(100), n - 1             74.2    79.7    95.3    98.9
//   cumulative(), n - 1              74.2    79.7    87.2    94.7
//   population()                     72.8    80.3    86.1    94.7
//   population, re-estimated         75.8    91.7    95.6    98.9
//   none: mean 0, variance 1         34.7    34.2    42.5    58.6
//   ...

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "support/checks.hpp"
#include "support/estimators.hpp"
#include "support/program.hpp"
#include "support/training.hpp"

namespace {

using namespace example;

constexpr int default_epochs = 20;

/// The followers, in their order, by what they do with the past.
enum : std::size_t { first_that_forgets = 0, keras = 3, debiased = 4, dlib = 5, paper = 6 };
enum : std::size_t { population = 8, none = 9 };

bool is_early(Eigen::Index minibatches) {
  return minibatches == 20 || minibatches == 100 || minibatches == 1000;
}

/// Least and largest accuracy of the estimates that forget the past.
auto range_of(const Snapshot& taken) {
  const auto& all = taken.accuracies;
  return std::minmax_element(all.begin() + first_that_forgets, all.begin() + paper);
}

/// What the two tables say about the sentence.
void print_summary(const std::vector<Snapshot>& shown) {
  const Snapshot& early = shown.front();
  const Snapshot& last = shown.back();
  std::printf("\nrobust to how it is estimated:\n");
  for (const Snapshot* taken : {&shown[shown.size() - 2], &last}) {
    const auto [least, most] = range_of(*taken);
    std::printf("  after %d minibatches a to f read %.1f to %.1f %%, the population %.1f %%\n",
                static_cast<int>(taken->at.minibatches), *least, *most,
                taken->accuracies[population]);
  }
  std::printf(
      "within limits:\n"
      "  the initial value has to be forgotten: after %d minibatches d reads %.1f %%, e %.1f %%\n"
      "  and so has the untrained network: at the end g and h read %.1f and %.1f %%\n"
      "  no estimate at all reads %.1f %%\n",
      static_cast<int>(early.at.minibatches), early.accuracies[keras], early.accuracies[debiased],
      last.accuracies[paper], last.accuracies[paper + 1], last.accuracies[none]);
}

/// What has to be seen after a training of the usual length, with any seed.
int check(const Snapshot& early, const Snapshot& last, bool drawn) {
  const auto [least, most] = range_of(last);
  const double truth = last.accuracies[population];
  Checks checks;
  checks.expect(*least > truth - 3 && *most < truth + 3,
                "all estimates that forget to read as well as the population, within 3 %");
  checks.expect(last.distances[paper].mean > 2 * last.distances[dlib].mean,
                "an average of everything to be further off than one of the last minibatches");
  if (!drawn) return checks.exit_code();
  checks.expect(early.accuracies[debiased] > early.accuracies[keras] + 10,
                "the initial value to spoil the reading at first");
  checks.expect(last.accuracies[none] < *least - 10, "no statistics to read at least 10 % less");
  return checks.exit_code();
}

int run(const Arguments& arguments) {
  const DigitsData data = digits_of(arguments);
  Random random(arguments.seed);
  Network network = Network::random(random);
  std::vector<Follower> followers = followers_of_systems(network);
  std::vector<Snapshot> snapshots, shown;
  const int epochs = arguments.epochs.value_or(default_epochs);
  train(network, data.training, epochs, random, [&](const Network::Step& step, const Position& at) {
    for (Follower& follower : followers) follower.follow(step);
    const bool show = is_early(at.minibatches) || at.epochs == epochs;
    if (!show && !at.epoch_ends) return;
    snapshots.push_back(snapshot(at, network, followers, data));
    if (show) shown.push_back(snapshots.back());
  });
  print_distances(followers, snapshots);
  print_accuracies(followers, shown);
  print_summary(shown);
  if (arguments.csv) save_text(*arguments.csv, table_of(followers, snapshots));
  if (arguments.plot) save_picture(*arguments.plot, snapshots);
  return epochs == default_epochs ? check(shown.front(), shown.back(), !arguments.data) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const example::Program program = {
      "07_estimators",
      "Compares the running statistics of eight systems with those of all training images.",
      {"--data", "--csv", "--plot", "--epochs", "--seed"},
      default_epochs};
  return example::run_program(program, argc, argv, run);
}
