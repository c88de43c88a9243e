// SPDX-License-Identifier: MIT
// A network with batch norm learns to read handwritten digits from minibatches of 8 images, and
// then reads them one at a time: 64 - 48 - 32 - 10, trained by gradient descent.
//
// At test time the batch norm layers need a mean and a variance. The program follows several ways
// to estimate them through the same training, and compares how well the network reads with each.
//
// The network is in support/network.hpp, the running averages are in support/statistics.hpp.
//
// Prints, among other things (another compiler or processor may change the last digits),
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//   network  64 - 48 - 32 - 10 with batch norm, trained for 60 epochs
//   ...
//   batch norm uses                       test accuracy     mean off   spread off
//   running: take_new(0.1)                 98.6 % (355)      0.07 sd      x 1.08
//   ...
//   population: all training images        98.6 % (355)      0.00 sd      x 1.00
//   ...
//   identity: mean 0, variance 1           44.2 % (159)      1.10 sd      x 1.54
//   ...
//   test accuracy, one example at a time: 98.6 % (355 of 360)

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "support/checks.hpp"
#include "support/network_file.hpp"
#include "support/network_onnx.hpp"
#include "support/program.hpp"
#include "support/report.hpp"
#include "support/statistics.hpp"
#include "support/training.hpp"

namespace {

using namespace example;

constexpr int default_epochs = 60;

/// Test accuracy with each set of statistics; the first is that of the network itself.
std::vector<Result> compare(const Network& network, const std::vector<Follower>& followers,
                            const DigitsData& data) {
  const Estimate population =
      statistics_of_all("population: all training images", network, data.training.images);
  std::vector<Estimate> estimates = {own_statistics(network)};
  for (const Follower& follower : followers) estimates.push_back(follower.estimate());
  estimates.push_back(population);
  estimates.push_back(
      statistics_of_all("reference: all test images at once", network, data.test.images));
  estimates.push_back(no_statistics(network));

  std::vector<Result> results;
  for (const Estimate& estimate : estimates) {
    results.push_back({estimate.name, count_right(freeze_with(network, estimate), data.test),
                       distance(estimate, population)});
  }
  return results;
}

/// One image at a time and all at once: the same bits after batch norm, the same logits up to the
/// rounding of the matrix products.
void check_company(const Network& network, const Digits& digits, Checks& checks) {
  const FrozenNetwork frozen = network.freeze();
  const Eigen::MatrixXf weighted = network.first.dense(digits.images);
  const Eigen::MatrixXf together = network.first.norm.infer(weighted);
  const Eigen::MatrixXf logits = frozen.logits(digits.images);
  bool same_bits = true;
  bool same_logits = true;
  for (Eigen::Index image = 0; image < digits.count(); ++image) {
    same_bits = same_bits && frozen.first_norm(weighted.col(image)) == together.col(image);
    const Eigen::MatrixXf alone = frozen.logits(digits.images.col(image));
    same_logits = same_logits && alone.isApprox(logits.col(image), 1e-4f);
  }
  checks.expect(same_bits, "an image alone to leave batch norm with the bits it has in company");
  checks.expect(same_logits, "the logits of an image not to depend on its company");
}

/// What the drawn digits have to show, with any seed, after a training of the usual length.
void check_statistics(const Result& own, const Result& none, Eigen::Index images, Checks& checks) {
  checks.expect(own.from_population.mean < 0.2 && own.from_population.deviation < 1.2,
                "the running statistics to be close to those of all training images");
  checks.expect(none.from_population.mean > 2 * own.from_population.mean &&
                    none.from_population.deviation > own.from_population.deviation,
                "mean 0 and variance 1 to be far from the statistics of all training images");
  checks.expect(percent(own.right - none.right, images) >= 10.0,
                "the network to read at least 10 % less without batch norm statistics");
}

int run(const Arguments& arguments) {
  if (arguments.save) check_has_onnx(*arguments.save);
  std::optional<Network> loaded;
  if (arguments.load) loaded = load_network(*arguments.load);
  const DigitsData data = digits_of(arguments);

  Random random(arguments.seed);
  Network network = loaded ? *loaded : Network::random(random);
  std::vector<Follower> followers;
  const int epochs = arguments.epochs.value_or(default_epochs);
  if (!loaded) {
    followers = followers_of(network);
    train(network, data.training, epochs, random, [&](const Network::Step& step, const Position&) {
      for (Follower& follower : followers) follower.follow(step);
    });
  }
  std::printf("network  64 - 48 - 32 - 10 with batch norm, %s\n\n",
              loaded ? ("loaded from " + *arguments.load).c_str()
                     : ("trained for " + std::to_string(epochs) + " epochs").c_str());

  print_readings(network.freeze(), data.test);
  const std::vector<Result> results = compare(network, followers, data);
  const Eigen::Index images = data.test.count();
  const Eigen::Index right = results.front().right;
  print_results(results, images);
  if (arguments.save) {
    if (is_onnx_name(*arguments.save)) {
      save_network_onnx(*arguments.save, network);
    } else {
      save_network(*arguments.save, network);
    }
    std::printf("saved %s\n", arguments.save->c_str());
  }

  Checks checks;
  check_company(network, data.test, checks);
  if (!loaded && epochs == default_epochs) {
    checks.expect(percent(right, images) >= 93.0, "a test accuracy of at least 93 %");
    if (!arguments.data) check_statistics(results.front(), results.back(), images, checks);
  }
  std::printf("test accuracy, one example at a time: %.1f %% (%d of %d)\n", percent(right, images),
              static_cast<int>(right), static_cast<int>(images));
  return checks.exit_code();
}

}  // namespace

int main(int argc, char** argv) {
  const example::Program program = {
      "02_digits",
      "Trains a network with batch norm to read handwritten digits, then reads them one at a time.",
      {"--data", "--save", "--load", "--epochs", "--seed"},
      default_epochs};
  return example::run_program(program, argc, argv, run);
}
