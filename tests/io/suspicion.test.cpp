// SPDX-License-Identifier: MIT
#include "batchnorm/io/suspicion.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const FoundBatchNorm& example_layer() {
  static const FoundBatchNorm layer = find_batch_norms(pytorch_layer()).at(0);
  return layer;
}

/// Numbers without anything suspicious.
detail::LayerNumbers ordinary() {
  detail::LayerNumbers numbers;
  numbers.of(Role::gamma) = {1.5, -2.0, 0.5};
  numbers.of(Role::beta) = {0.25, 0.0, -1.0};
  numbers.of(Role::mean) = {-1.0, 3.0, 0.5};
  numbers.of(Role::variance) = {4.0, 0.25, 2.0};
  numbers.batches_seen = 460;
  return numbers;
}

std::vector<std::string> suspicions(const detail::LayerNumbers& numbers, double epsilon = 1e-5,
                                    bool is_inplace_abn = false) {
  Options options;
  options.epsilon = epsilon;
  LoadReport report;
  detail::find_suspicions(report, example_layer(), numbers, &options, is_inplace_abn);
  std::vector<std::string> lines;
  for (const LoadReport::Entry& entry : report.entries) {
    CHECK(entry.finding == Finding::suspicious);
    CHECK_FALSE(entry.is_error);
    lines.push_back(LoadReport::line_of(entry));
  }
  return lines;
}

std::vector<std::string> with(Role role, const std::vector<double>& vector, double epsilon = 1e-5) {
  detail::LayerNumbers numbers = ordinary();
  numbers.of(role) = vector;
  return suspicions(numbers, epsilon);
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("ordinary numbers raise no suspicion") {
  CHECK(suspicions(ordinary()).empty());
  CHECK(suspicions(ordinary(), 1e-2).empty());
  CHECK(suspicions(ordinary(), 0.0).empty());
}

TEST_CASE("a layer of which nothing ever moved was never trained") {
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::gamma) = {1.0, 1.0, 1.0};
  numbers.of(Role::beta) = {0.0, -0.0, 0.0};
  numbers.of(Role::mean) = {0.0, 0.0, -0.0};
  numbers.of(Role::variance) = {1.0, 1.0, 1.0};
  CHECK(suspicions(numbers) ==
        Texts{"mean 0 and variance 1 in all channels, although 460 minibatches were counted"});
  numbers.batches_seen = 0;
  CHECK(suspicions(numbers) == Texts{"mean 0 and variance 1 in all channels: never trained"});
  numbers.batches_seen = -1;
  CHECK(suspicions(numbers) == Texts{"mean 0 and variance 1 in all channels: never trained"});
  numbers.of(Role::gamma).clear();
  numbers.of(Role::beta).clear();
  CHECK(suspicions(numbers) == Texts{"mean 0 and variance 1 in all channels: never trained"});
  numbers.of(Role::mean)[2] = 1e-30;
  CHECK(suspicions(numbers).empty());
  numbers.of(Role::mean)[2] = 0.0;
  numbers.of(Role::variance)[0] = 1.0 + 1e-15;
  CHECK(suspicions(numbers).empty());
}

TEST_CASE(
    "variances that are all alike are initial only as close to 1 as a converter leaves them") {
  const auto of_all = [](double variance) {
    detail::LayerNumbers numbers;
    numbers.of(Role::mean) = {0.0, 0.0};
    numbers.of(Role::variance) = {variance, variance};
    return suspicions(numbers);
  };
  CHECK(of_all(0.999) == Texts{"mean 0 and variance 0.999 in all channels: never trained"});
  CHECK(of_all(0.998).empty());
  CHECK(of_all(1.001).empty());
}

TEST_CASE("eight running means above 0 are no chance, seven may be") {
  const std::vector<double> seven = {1, 2, 3, 4, 5, 6, 7};
  std::vector<double> eight = seven;
  eight.push_back(0.5);
  CHECK(with(Role::mean, seven).empty());
  CHECK(with(Role::mean, eight) ==
        Texts{"tensor \"bn.running_mean\": all 8 running means are positive: the input looks like "
              "that of a layer behind a ReLU"});
  eight[7] = 0.0;
  CHECK(with(Role::mean, eight).empty());
}

TEST_CASE("initial statistics beside a trained gamma or beta are not called untrained") {
  const std::string text =
      "mean 0 and variance 1 in all channels, although gamma and beta are trained: the statistics "
      "were not saved, or a converter has moved them into gamma and beta";
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::mean) = {0.0, 0.0, 0.0};
  numbers.of(Role::variance) = {1.0, 1.0, 1.0};
  for (const Index batches : {Index{-1}, Index{0}, Index{460}}) {
    numbers.batches_seen = batches;
    CHECK(suspicions(numbers) == Texts{text});
  }
  numbers.of(Role::gamma) = {1.0, 1.0, 1.0};
  CHECK(suspicions(numbers) == Texts{text});
  numbers.of(Role::beta).clear();
  numbers.of(Role::gamma)[1] = 0.5;
  CHECK(suspicions(numbers) == Texts{text});
}

TEST_CASE("a counter of 0 beside statistics that moved is noted, and no warning") {
  detail::LayerNumbers numbers = ordinary();
  numbers.batches_seen = 0;
  LoadReport report;
  const Options options;
  detail::find_suspicions(report, example_layer(), numbers, &options, false);
  CHECK(report.warnings().empty());
  REQUIRE(report.entries.size() == 1);
  CHECK(report.entries[0].finding == Finding::used);
  CHECK(LoadReport::line_of(report.entries[0]) ==
        "tensor \"bn.num_batches_tracked\": 0 minibatches seen, although the statistics are not "
        "those of a new layer");
}

TEST_CASE("a variance of 0 is told, one below epsilon and a large gain too") {
  CHECK(
      with(Role::variance, {4.0, 0.0, 0.0}) ==
      Texts{"tensor \"bn.running_var\": variance 0 or next to it, the input never changed: 2 of 3 "
            "channels, the first is 1"});
  // The largest denormal number of float, and the smallest normal one.
  CHECK(
      with(Role::variance, {4.0, 0x1.fffffcp-127, 0.25}) ==
      Texts{"tensor \"bn.running_var\": variance 0 or next to it, the input never changed: 1 of 3 "
            "channels, the first is 1"});
  CHECK(with(Role::variance, {4.0, 0x1p-126, 0.25}) ==
        Texts{"tensor \"bn.running_var\": variance below epsilon 1e-05, which decides the scale: 1 "
              "of 3 channels, the first is 1"});
  CHECK(with(Role::variance, {4.0, 0.25, 1e-6}) ==
        Texts{"tensor \"bn.running_var\": variance below epsilon 1e-05, which decides the scale: 1 "
              "of 3 channels, the first is 2"});
  CHECK(with(Role::variance, {4.0, 0.25, 1e-5}).empty());
  CHECK(with(Role::gamma, {1.5, -2.0, -1415.0}) ==
        Texts{"the input is multiplied by more than 1000: 1 of 3 channels, the first is 2"});
  CHECK(with(Role::gamma, {1.5, -2.0, 1413.0}).empty());
}

TEST_CASE("gamma 0 is told, a negative gamma is ordinary") {
  CHECK(with(Role::gamma, {1.5, -0.0, 0.5}) ==
        Texts{"tensor \"bn.weight\": gamma 0, the output never changes: 1 of 3 channels, the first "
              "is 1"});
}

TEST_CASE("inplace_abn drops the sign of gamma, and has none that is 0") {
  CHECK(suspicions(ordinary(), 1e-5, true) ==
        Texts{"tensor \"bn.weight\": the sign is dropped, as inplace_abn does: 1 of 3 channels, "
              "the first is 1"});
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::gamma) = {0.0, 1.0, 1.0};
  CHECK(suspicions(numbers, 1e-5, true).empty());
}

TEST_CASE("gamma and variance that are the same numbers are told") {
  CHECK(with(Role::gamma, {4.0, 0.25, 2.0}) ==
        Texts{"tensor \"bn.running_var\": the same numbers as gamma: has one been stored as the "
              "other?"});
}

TEST_CASE("an epsilon that no system has is told") {
  CHECK(suspicions(ordinary(), 0.1) ==
        Texts{"epsilon 0.1 is larger than that of any system: is it another number?"});
}

TEST_CASE("a layer without gamma has the gain of its deviation") {
  CHECK(with(Role::gamma, {}).empty());
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::gamma).clear();
  numbers.of(Role::variance) = {4.0, 0.25, 1e-8};
  CHECK(suspicions(numbers, 0.0) ==
        Texts{"the input is multiplied by more than 1000: 1 of 3 channels, the first is 2"});
}

TEST_CASE("numbers of a file that says nothing of minibatches are not counted") {
  detail::LayerNumbers untouched;
  CHECK(untouched.batches_seen == State<float>::unknown);
  untouched.of(Role::mean) = {0.0, 0.0};
  untouched.of(Role::variance) = {1.0, 1.0};
  CHECK(suspicions(untouched) == Texts{"mean 0 and variance 1 in all channels: never trained"});
  detail::LayerNumbers moved = untouched;
  moved.of(Role::mean) = {0.5, 0.0};
  CHECK(suspicions(moved).empty());
}

namespace {

using Numbers = std::vector<double>;

/// What is said of the order of the tensors: "order", "minus one" or nothing.
std::string order_of(const Numbers& gamma, const Numbers& beta) {
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::gamma) = gamma;
  numbers.of(Role::beta) = beta;
  LoadReport report;
  detail::find_suspicions(report, example_layer(), numbers, nullptr, false);
  for (const LoadReport::Entry& entry : report.entries) {
    if (entry.text == "gamma lies about 0 and beta about 1: are the tensors in another order?") {
      CHECK(entry.tensor == "bn.weight");
      return "order";
    }
    if (entry.text ==
        "gamma lies about 0 with either sign and nowhere near 1: has gamma - 1 been stored "
        "(LoadOptions::adding_one_to_gamma)?") {
      return "minus one";
    }
  }
  return "";
}

}  // namespace

TEST_CASE("eight scales about 0 of either sign are shifts, or lack 1") {
  const Numbers ones(8, 1.0), zeros(8, 0.0);
  const Numbers usual = {0.2, -0.3, 0.3, 0.1, -0.05, -0.4, 0.15, -0.2};
  CHECK(order_of(usual, ones) == "order");
  CHECK(order_of(usual, zeros) == "minus one");
  CHECK(order_of(usual, {}) == "minus one");
  CHECK(order_of({0.2, -0.3, 0.3, 0.1, -0.05, -0.4, 0.15}, Numbers(7, 1.0)) == "");
  // The median is the fifth of eight, the quartiles are the third and the seventh.
  CHECK(order_of({0.11, 0.2, -0.3, 0.3, -0.05, -0.4, 0.15, -0.2}, ones) == "");
  CHECK(order_of({-0.11, 0.2, -0.3, 0.3, -0.25, -0.4, 0.15, -0.2}, ones) == "");
  CHECK(order_of({-0.05, 0.2, -0.3, 0.3, -0.1, -0.4, 0.1, -0.2}, ones) == "order");
  CHECK(order_of({0.0, 0.2, -0.3, 0.3, 0.0, -0.4, 0.15, 0.05}, ones) == "");
  CHECK(order_of({0.0, 0.0, -0.3, 0.3, 0.0, -0.4, -0.2, -0.05}, ones) == "");
  // Nowhere near 1, and not near -1 either.
  CHECK(order_of({0.2, -0.3, 0.49, 0.1, -0.05, -0.49, 0.15, -0.2}, ones) == "order");
  CHECK(order_of({0.2, -0.3, 0.5, 0.1, -0.05, -0.4, 0.15, -0.2}, ones) == "");
  CHECK(order_of({0.2, -0.3, 0.7, 0.1, -0.05, -0.4, 0.15, -0.2}, ones) == "");
  CHECK(order_of({0.2, -0.3, 0.3, 0.1, -0.05, -0.5, 0.15, -0.2}, ones) == "");
  CHECK(order_of({0.2, -0.3, 0.3, 0.1, -0.05, -0.7, 0.15, -0.2}, ones) == "");
}

TEST_CASE("shifts are like scales when all are above 0 and 1 in the mean, by a factor of 2") {
  const Numbers gamma = {0.2, -0.3, 0.3, 0.1, -0.05, -0.4, 0.15, -0.2};
  CHECK(order_of(gamma, Numbers(8, 0.5)) == "minus one");
  CHECK(order_of(gamma, Numbers(8, 0.51)) == "order");
  CHECK(order_of(gamma, Numbers(8, 0.75)) == "order");
  CHECK(order_of(gamma, Numbers(8, 1.99)) == "order");
  CHECK(order_of(gamma, Numbers(8, 2.0)) == "minus one");
  CHECK(order_of(gamma, Numbers(8, 3.0)) == "minus one");
  CHECK(order_of(gamma, {1, 1, 1, 0, 1, 1, 1, 1}) == "minus one");
  CHECK(order_of(gamma, {1, 1, 1, -0.1, 1, 1, 1, 1}) == "minus one");
}

TEST_CASE("variances of a new layer are 1, or less by an epsilon of a converter, or not there") {
  CHECK(detail::are_of_identity({}));
  CHECK(detail::are_of_identity({1, 1}));
  CHECK(detail::are_of_identity({0.999, 0.999}));
  const double least = 1.0 - 1e-3 - 1e-6;
  CHECK(detail::are_of_identity({least}));
  CHECK_FALSE(detail::are_of_identity({std::nextafter(least, 0.0)}));
  CHECK_FALSE(detail::are_of_identity({std::nextafter(1.0, 2.0)}));
  CHECK_FALSE(detail::are_of_identity({1, 0.999}));
  CHECK_FALSE(detail::are_of_identity({0.999, 1}));
  CHECK_FALSE(detail::are_of_identity({std::nan("")}));
  detail::LayerNumbers numbers = ordinary();
  numbers.of(Role::mean) = {0, 0, 0};
  numbers.of(Role::variance).clear();
  const Texts without = suspicions(numbers);
  REQUIRE(without.size() == 1);
  CHECK(without[0].find("mean 0 and variance 1 in all channels, although gamma and beta are") == 0);
  numbers.of(Role::gamma) = {1, 1, 1};
  numbers.of(Role::beta) = {0, 0, 0};
  numbers.of(Role::variance) = {0.999, 0.999, 0.999};
  numbers.batches_seen = 1;
  CHECK(suspicions(numbers) ==
        Texts{"mean 0 and variance 0.999 in all channels, although 1 minibatches were counted"});
  numbers.batches_seen = 0;
  CHECK(suspicions(numbers) == Texts{"mean 0 and variance 0.999 in all channels: never trained"});
}

TEST_CASE("a gain above 1000 is told, and gamma counts as 1 where there is none") {
  const auto is_loud = [](const Numbers& gamma, double variance) {
    detail::LayerNumbers numbers;
    numbers.of(Role::gamma) = gamma;
    numbers.of(Role::mean) = {0.5};
    numbers.of(Role::variance) = {variance};
    const Texts lines = suspicions(numbers, 0.0);
    CHECK(lines.size() <= 1);
    return !lines.empty() &&
           lines[0] == "the input is multiplied by more than 1000: 1 of 1 channels, the first is 0";
  };
  CHECK_FALSE(is_loud({1000.0}, 1.0));
  CHECK(is_loud({1000.5}, 1.0));
  CHECK(is_loud({-1000.5}, 1.0));
  CHECK_FALSE(is_loud({}, 1.5e-6));
  CHECK(is_loud({}, 0.9e-6));
}
