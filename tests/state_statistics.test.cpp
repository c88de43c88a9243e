// SPDX-License-Identifier: MIT
// Whether the statistics of a state come from data, and what becomes of those that do not fit.
#include "batchnorm/state.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("minibatches that were given are some of those seen, where their number is known") {
  State<float> state(1);
  CHECK(state.batches_given == 0);
  CHECK(state.staleness == Staleness::fresh);
  state.batches_seen = 3;
  state.batches_given = 3;
  CHECK_NOTHROW(detail::check_state_shape("load", state));
  state.batches_given = 4;
  CHECK_THROWS_MATCHES(
      detail::check_state_shape("load", state), std::invalid_argument,
      says("load: batches_given are some of batches_seen: expected at most 3, got 4"));
  state.batches_seen = State<float>::unknown;
  CHECK_NOTHROW(detail::check_state_shape("load", state));
}

TEST_CASE("statistics come from data when anything says so, their values included") {
  const State<double> fresh(2);
  CHECK(detail::has_initial_statistics(fresh));
  CHECK_FALSE(detail::has_statistics(fresh, false));
  CHECK(detail::has_statistics(fresh, true));
  State<double> counted = fresh;
  counted.batches_seen = 1;
  CHECK(detail::has_statistics(counted, false));
  counted.batches_seen = State<double>::unknown;
  CHECK(detail::has_statistics(counted, false));
  for (const double number : {-1e-300, 1.0, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()}) {
    State<double> moved = fresh;
    moved.running_mean[1] = number;
    CHECK_FALSE(detail::has_initial_statistics(moved));
    CHECK(detail::has_statistics(moved, false));
  }
  for (const double number : {0.0, 0.5, 2.0, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()}) {
    State<double> moved = fresh;
    moved.running_variance[1] = number;
    CHECK_FALSE(detail::has_initial_statistics(moved));
  }
}

TEST_CASE("statistics of a new layer are refused with what they would do") {
  CHECK_NOTHROW(detail::check_has_statistics("freeze", State<float>(1), true));
  CHECK_THROWS_WITH(
      detail::check_has_statistics("freeze", State<float>(1), false),
      "freeze: the running statistics must come from data: expected a layer that has trained on a "
      "minibatch or was given its state, got those of a new layer, mean 0 and variance 1, which "
      "would switch batch norm off; where they are meant, set state().batches_seen to what they "
      "come from, or to State::unknown");
  CHECK_THROWS_MATCHES(detail::check_has_statistics("freeze", State<float>(), true),
                       std::invalid_argument, says("freeze: number of channels"));
}

TEST_CASE("what was done to weights has a word, which nothing has, too") {
  CHECK(std::string(detail::done_to_weights(Staleness::fresh)) == "left alone");
  CHECK(std::string(detail::done_to_weights(Staleness::weights_averaged)) == "averaged");
  CHECK(std::string(detail::done_to_weights(Staleness::weights_changed)) == "changed");
}

TEST_CASE("given statistics of no samples are refused, those of an unknown number are not") {
  State<float> state(1);
  const Eigen::Matrix<double, 1, 1> one(1.0);
  CHECK_THROWS_MATCHES(state.set_statistics(one, one, 1, 0), std::invalid_argument,
                       says("statistics come from something"));
  state.set_statistics(one, one, 1, 1);
  CHECK(state.samples_seen == 1);
  CHECK(state.batches_seen == 1);
}

TEST_CASE("a cast converts every part, and says which number it cannot") {
  State<double> state(2);
  const auto refusal = [&](auto part, const std::string& name) {
    State<double> changed = state;
    (changed.*part)[1] = 1e39;
    CHECK_THROWS_MATCHES(changed.template cast<float>(), std::domain_error,
                         says("State::cast: " + name +
                              " of channel 1: expected a number in the "
                              "range of the new scalar"));
  };
  refusal(&State<double>::gamma, "gamma");
  refusal(&State<double>::beta, "beta");
  State<long double> wide(1);
  wide.running_mean[0] = (std::numeric_limits<long double>::max)();
  if (std::numeric_limits<long double>::max_exponent > 1024) {
    CHECK_THROWS_MATCHES(wide.cast<double>(), std::domain_error, says("running mean of channel 0"));
    wide.running_mean[0] = 0;
    wide.running_variance[0] = (std::numeric_limits<long double>::max)();
    CHECK_THROWS_MATCHES(wide.cast<double>(), std::domain_error,
                         says("running variance of channel 0"));
  }
}
