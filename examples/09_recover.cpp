// SPDX-License-Identifier: MIT
// Three ways to leave a trained network with statistics that are not its own, and one call that
// mends them all. The hidden weights are rounded to 3 bits; two networks are averaged after their
// hidden units were matched (the statistics are then those of neither, and the units of the average
// vary less than those of both: REPAIR, Jordan et al. 2022, arXiv:2211.08403); the norm is dropped,
// so that only gamma and beta are left. reestimate() takes the statistics anew from the training
// images. No weight is trained again.
//
//   09_recover [--data FILE] [--csv FILE] [--plot FILE.svg] [--epochs N] [--seed N]
//
// Prints, among other things (another compiler or processor may change the last digits),
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//   two networks, trained for 20 epochs: 98.9 and 99.4 % of the test images
//   ...
//   hidden weights in 3 bits       98.9 %  96.4 %   98.3 %     0.122   0.049    11.4 %
//   average of two, matched        98.9 %  97.5 %   97.5 %     0.108   0.084    21.4 %
//   average of two, not matched    98.9 %  81.1 %   86.1 %     0.721   0.442    68.6 %
//   norm dropped                   98.9 %  58.6 %   98.9 %     2.204   0.044    39.5 %
//   ...

#include <cmath>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/bars.hpp"
#include "support/checks.hpp"
#include "support/damage.hpp"
#include "support/program.hpp"
#include "support/report.hpp"
#include "support/training.hpp"

namespace {

using namespace example;

constexpr int default_epochs = 20;

Network trained(const Digits& digits, int epochs, Random& random) {
  Network network = Network::random(random);
  train(network, digits, epochs, random, [](const Network::Step&, const Position&) {});
  return network;
}

// ---- the damage

Network with_rounded_weights(Network network) {
  round_weights(network.first.dense.weight, 3);
  round_weights(network.second.dense.weight, 3);
  network.mark_stale(batchnorm::Staleness::weights_quantized);
  return network;
}

Network average_of(const Network& a, const Network& b) {
  Network network = average(a, b);
  network.mark_stale(batchnorm::Staleness::weights_averaged);
  return network;
}

Network without_norm(Network network) {
  network.first.norm.state().forget_statistics();
  network.second.norm.state().forget_statistics();
  return network;
}

// ---- what it costs, and what re-estimation gives back

/// How well a network reads: images one at a time, and the mean cross entropy.
struct Reading {
  double accuracy;  ///< in per cent
  double loss;
};

Reading read(const FrozenNetwork& network, const Digits& digits) {
  Eigen::MatrixXf logits = network.logits(digits.images);
  return {percent(count_right(network, digits), digits.count()),
          static_cast<double>(softmax_cross_entropy(logits, digits.labels))};
}

/// The network with whatever statistics its layers hold.
FrozenNetwork freeze_as_it_is(const Network& network) {
  const auto freeze = [](const batchnorm::BatchNorm<float>& norm) {
    return batchnorm::FrozenBatchNorm<float>(norm.state(), norm.options(),
                                             batchnorm::StaleStatistics::accept);
  };
  return {network.first.dense, freeze(network.first.norm), network.second.dense,
          freeze(network.second.norm), network.last};
}

bool refuses_to_freeze(const Network& network) {
  try {
    network.freeze();
  } catch (const std::domain_error&) {
    return true;
  }
  return false;
}

/// One way to break a network.
struct Case {
  std::string name;
  Reading whole, broken, mended;
  double spread_off;  ///< of the deviations in the broken network, in per cent, root mean square
  bool refused;       ///< whether freeze() refused the broken network
};

Case recover(const std::string& name, const Reading& whole, Network network,
             const DigitsData& data) {
  Case result{name, whole, read(freeze_as_it_is(network), data.test), {}, 0, false};
  result.refused = refuses_to_freeze(network);
  const batchnorm::ReestimationReport report = network.reestimate(data.training.images);
  double squares = 0, channels = 0;
  for (const batchnorm::LayerReestimate& layer : report.layers) {
    squares += layer.running.deviation.squaredNorm();
    channels += static_cast<double>(layer.channels());
  }
  result.spread_off = 100 * std::sqrt(squares / channels);
  result.mended = read(network.freeze(), data.test);
  return result;
}

void print(const std::vector<Case>& cases) {
  std::printf(
      "                              test accuracy, one by one       loss       statistics\n"
      "                              whole   broken   mended    broken  mended   off by\n");
  for (const Case& c : cases) {
    std::printf("%-29s %5.1f %% %5.1f %%  %5.1f %%    %6.3f  %6.3f   %5.1f %%\n", c.name.c_str(),
                c.whole.accuracy, c.broken.accuracy, c.mended.accuracy, c.broken.loss,
                c.mended.loss, c.spread_off);
  }
  std::printf(
      "\nbroken: with the statistics that are there; mended: with those of all training images\n"
      "under the weights as they are. Off by: the standard deviations, root mean square.\n");
}

std::string table_of(const std::vector<Case>& cases) {
  std::ostringstream table;
  table << "case,accuracy_whole,accuracy_broken,accuracy_mended,loss_broken,loss_mended,"
           "deviations_off_in_percent\n";
  for (const Case& c : cases) {
    table << "\"" << c.name << "\"," << c.whole.accuracy << "," << c.broken.accuracy << ","
          << c.mended.accuracy << "," << c.broken.loss << "," << c.mended.loss << ","
          << c.spread_off << "\n";
  }
  return table.str();
}

void save_picture(const std::string& path, const std::vector<Case>& cases) {
  std::vector<BarGroup> groups;
  for (const Case& c : cases) {
    groups.push_back({c.name, {c.whole.accuracy, c.broken.accuracy, c.mended.accuracy}});
  }
  save_bars(path, "Statistics that are not the network's own, mended by re-estimation",
            {"whole", "broken", "mended"}, groups);
}

int check(const std::vector<Case>& cases, bool drawn) {
  Checks checks;
  for (const Case& c : cases) {
    checks.expect(c.refused, "freeze() to refuse the statistics: " + c.name);
    checks.expect(c.mended.loss < (drawn ? 1.0 : 1.1) * c.broken.loss,
                  "re-estimation to lower the loss, or to change little: " + c.name);
  }
  const Case &rounded = cases[0], &averaged = cases[1], &unmatched = cases[2], &dropped = cases[3];
  checks.expect(rounded.mended.accuracy > rounded.whole.accuracy - 5,
                "3 bits to read as well as before, within 5 %");
  checks.expect(averaged.mended.accuracy > averaged.whole.accuracy - 5,
                "the average to read as well as the two networks, within 5 %");
  checks.expect(unmatched.mended.accuracy < averaged.mended.accuracy,
                "units that were not matched to be worse off");
  checks.expect(dropped.mended.accuracy > dropped.whole.accuracy - 3,
                "the norm to come back as it was, within 3 %");
  if (drawn) {
    checks.expect(dropped.broken.accuracy < dropped.mended.accuracy - 10,
                  "the network to read at least 10 % less without its norm");
  }
  return checks.exit_code();
}

int run(const Arguments& arguments) {
  const DigitsData data = digits_of(arguments);
  const int epochs = arguments.epochs.value_or(default_epochs);
  Random random(arguments.seed);
  const Network one = trained(data.training, epochs, random);
  const Network two = trained(data.training, epochs, random);
  const Reading whole = read(one.freeze(), data.test), other = read(two.freeze(), data.test);
  std::printf("two networks, trained for %d epochs: %.1f and %.1f %% of the test images\n\n",
              epochs, whole.accuracy, other.accuracy);

  const Network two_matched = matched(two, one, data.training.images);
  const std::vector<Case> cases = {
      recover("hidden weights in 3 bits", whole, with_rounded_weights(one), data),
      recover("average of two, matched", whole, average_of(one, two_matched), data),
      recover("average of two, not matched", whole, average_of(one, two), data),
      recover("norm dropped", whole, without_norm(one), data)};
  print(cases);
  if (arguments.csv) save_text(*arguments.csv, table_of(cases));
  if (arguments.plot) save_picture(*arguments.plot, cases);
  return epochs == default_epochs ? check(cases, !arguments.data) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const example::Program program = {
      "09_recover",
      "Breaks the statistics of a trained network in three ways, and mends them.",
      {"--data", "--csv", "--plot", "--epochs", "--seed"},
      default_epochs};
  return example::run_program(program, argc, argv, run);
}
