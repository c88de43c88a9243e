// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/statistic_bank.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

Options no_epsilon() {
  Options options;
  options.epsilon = 0;
  return options;
}

State<double> parameters() {
  State<double> state(2);
  state.gamma << 2, 3;
  state.beta << -1, 1;
  return state;
}

State<double> statistics(double mean, double variance) {
  State<double> state(2);
  state.set_statistics(Eigen::Vector2d::Constant(mean), Eigen::Vector2d::Constant(variance), 7, 70);
  return state;
}

/// gamma 2, 3 and beta -1, 1; day N(1, 4), night N(-5, 1).
StatisticBank<double> two_domains() {
  StatisticBank<double> bank(parameters(), no_epsilon());
  bank.set("night", statistics(-5, 1));
  bank.set("day", statistics(1, 4));
  return bank;
}

const Eigen::Vector2d x(5, 5);

}  // namespace

TEST_CASE("statistics are chosen by name, gamma and beta are those of the bank") {
  const StatisticBank<double> bank = two_domains();
  CHECK(bank.frozen("day")(x) == Eigen::Vector2d(2 * 2 - 1, 3 * 2 + 1));
  CHECK(bank.frozen("night")(x) == Eigen::Vector2d(2 * 10 - 1, 3 * 10 + 1));
  CHECK(bank.domains() == std::vector<std::string>{"day", "night"});
  CHECK(bank.channels() == 2);
  CHECK(bank.state("day").gamma == parameters().gamma);
  CHECK(bank.state("day").batches_seen == 7);
  CHECK(bank.state("day").samples_seen == 70);
  CHECK(bank.parameters().batches_seen == 0);
}

TEST_CASE("the statistics of the state that gamma and beta come from are not taken") {
  State<double> trained = statistics(-5, 9);
  trained.gamma << 2, 3;
  trained.mark_stale(Staleness::weights_pruned);
  StatisticBank<double> bank(trained, no_epsilon());
  bank.add("snow");
  for (const State<double>& state : {bank.parameters(), bank.state("snow")}) {
    CHECK(state.gamma == Eigen::Vector2d(2, 3));
    CHECK(state.running_mean == Eigen::Vector2d::Zero());
    CHECK(state.running_variance == Eigen::Vector2d::Ones());
    CHECK(state.batches_seen == 0);
    CHECK(state.samples_seen == 0);
    CHECK(state.staleness == Staleness::fresh);
  }
  CHECK(trained.running_mean == Eigen::Vector2d(-5, -5));
}

TEST_CASE("a domain is replaced and erased without the others") {
  StatisticBank<double> bank = two_domains();
  bank.set("day", statistics(3, 1));
  CHECK(bank.frozen("day")(x) == Eigen::Vector2d(2 * 2 - 1, 3 * 2 + 1));
  CHECK(bank.frozen("night")(x) == Eigen::Vector2d(19, 31));
  bank.erase("day");
  bank.erase("never was there");
  CHECK_FALSE(bank.contains("day"));
  CHECK(bank.contains("night"));
}

TEST_CASE("statistics from moments have the variance of the options") {
  Options options = no_epsilon();
  const auto moments = moments_of(Eigen::Matrix2d{{1, 5}, {2, 8}});  // squares 8 and 18
  options.running_variance = VarianceEstimator::sample;
  StatisticBank<double> sample(parameters(), options);
  sample.set("a", moments);
  CHECK(sample.state("a").running_variance == Eigen::Vector2d(8, 18));
  options.running_variance = VarianceEstimator::population;
  StatisticBank<double> population(parameters(), options);
  population.set("a", moments);
  CHECK(population.state("a").running_variance == Eigen::Vector2d(4, 9));
  CHECK(population.state("a").running_mean == Eigen::Vector2d(3, 5));
  CHECK(population.state("a").samples_seen == 2);
}

TEST_CASE("training moves one domain on, by the rule of the options") {
  Options options = no_epsilon();
  options.running = RunningUpdate::take_new(0.5);
  options.running_variance = VarianceEstimator::population;
  StatisticBank<double> bank(parameters(), options);
  bank.set("day", statistics(1, 4));
  bank.add("snow");
  bank.commit("day", moments_of(Eigen::Matrix2d{{1, 5}, {2, 8}}));
  CHECK(bank.state("day").running_mean == Eigen::Vector2d(2, 3));
  CHECK(bank.state("day").running_variance == Eigen::Vector2d(4, 6.5));
  CHECK(bank.state("day").batches_seen == 8);
  CHECK_THROWS_MATCHES(bank.frozen("snow"), std::domain_error,
                       says("statistics of \"snow\": expected those of some data, got none"));
  bank.commit("snow", Moments<double>(2));
  CHECK_THROWS_AS(bank.frozen("snow"), std::domain_error);
  bank.commit("snow", moments_of(Eigen::Matrix2d{{1, 5}, {2, 8}}));
  CHECK(bank.state("snow").running_mean == Eigen::Vector2d(1.5, 2.5));
  CHECK(bank.frozen("snow").channels() == 2);
}

TEST_CASE("all domains get a new gamma and beta") {
  StatisticBank<double> bank = two_domains();
  bank.add("snow");
  State<double> next(2);
  next.gamma << 1, 10;
  next.beta << 0, 0;
  bank.set_parameters(next);
  CHECK(bank.frozen("day")(x) == Eigen::Vector2d(2, 20));
  CHECK(bank.frozen("night")(x) == Eigen::Vector2d(10, 100));
  CHECK(bank.state("night").batches_seen == 7);
  CHECK(bank.contains("snow"));
  CHECK_THROWS_MATCHES(
      bank.set_parameters(State<double>(3)), std::invalid_argument,
      says("StatisticBank::set_parameters: channels of gamma and beta: expected 2, got 3"));
  next.gamma[1] = std::nan("");
  CHECK_THROWS_AS(bank.set_parameters(next), std::domain_error);
  CHECK(bank.frozen("day")(x) == Eigen::Vector2d(2, 20));
}

TEST_CASE("names that are not there, not free, or none") {
  StatisticBank<double> bank = two_domains();
  CHECK_THROWS_MATCHES(bank.frozen("nigth"), std::invalid_argument,
                       says("StatisticBank::frozen: name of a domain: expected one of \"day\", "
                            "\"night\", got \"nigth\""));
  const auto refused = [](const std::string& words) { return says("StatisticBank::" + words); };
  CHECK_THROWS_MATCHES(bank.state("x"), std::invalid_argument, refused("state: name of a domain"));
  CHECK_THROWS_MATCHES(bank.commit("x", Moments<double>(2)), std::invalid_argument,
                       refused("commit: name of a domain"));
  CHECK_THROWS_MATCHES(
      bank.add("day"), std::invalid_argument,
      refused("add: name of a new domain: expected one that is free, got \"day\""));
  const std::string none = "name of a domain: expected one letter or more, got none";
  CHECK_THROWS_MATCHES(bank.add(""), std::invalid_argument, refused("add: " + none));
  CHECK_THROWS_MATCHES(bank.set("", statistics(0, 1)), std::invalid_argument,
                       refused("set: " + none));
  CHECK_THROWS_MATCHES((StatisticBank<double>(parameters(), {}).frozen("x")), std::invalid_argument,
                       says("there is none yet"));
}

TEST_CASE("what is refused leaves the bank as it was") {
  StatisticBank<double> bank = two_domains();
  State<double> wrong = statistics(0, 1);
  wrong.running_variance[1] = -1;
  CHECK_THROWS_AS(bank.set("day", wrong), std::domain_error);
  wrong = statistics(0, 0);
  CHECK_THROWS_AS(bank.set("dusk", wrong), std::domain_error);  // with epsilon 0
  wrong = statistics(0, 1);
  wrong.mark_stale(Staleness::weights_pruned);
  CHECK_THROWS_AS(bank.set("day", wrong), std::domain_error);
  CHECK_THROWS_MATCHES(bank.set("day", State<double>(3)), std::invalid_argument,
                       says("StatisticBank::set: channels of the statistics: expected 2, got 3"));
  wrong = statistics(0, 1);
  wrong.beta.resize(1);
  const auto parts = says(": size of beta must be that of gamma: expected 2, got 1");
  CHECK_THROWS_MATCHES(bank.set("day", wrong), std::invalid_argument, parts);
  CHECK_THROWS_MATCHES(bank.set_parameters(wrong), std::invalid_argument, parts);
  CHECK_THROWS_MATCHES(StatisticBank<double>(wrong, {}), std::invalid_argument, parts);
  Moments<double> infinite(2);
  infinite.count = 2;
  infinite.mean[0] = INFINITY;
  CHECK_THROWS_AS(bank.commit("day", infinite), std::domain_error);
  CHECK(bank.domains().size() == 2);
  CHECK(bank.frozen("day")(x) == Eigen::Vector2d(3, 7));
}

TEST_CASE("banks are values") {
  StatisticBank<double> bank = two_domains();
  const StatisticBank<double> copy = bank;
  bank.set("day", statistics(0, 1));
  CHECK(copy.frozen("day")(x) == Eigen::Vector2d(3, 7));
  StatisticBank<float, 2> fixed{State<float, 2>(), Options()};
  fixed.set("a", State<float, 2>());
  CHECK(fixed.frozen("a").channels() == 2);
}
