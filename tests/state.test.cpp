// SPDX-License-Identifier: MIT
#include "batchnorm/state.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("a new state normalises with mean 0 and variance 1, and has seen nothing") {
  const State<double> state(3);
  CHECK(state.channels() == 3);
  for (Index c = 0; c < 3; ++c) {
    CHECK(state.gamma[c] == 1.0);
    CHECK(state.beta[c] == 0.0);
    CHECK(state.running_mean[c] == 0.0);
    CHECK(state.running_variance[c] == 1.0);
  }
  CHECK(state.beta.size() == 3);
  CHECK(state.running_mean.size() == 3);
  CHECK(state.running_variance.size() == 3);
  CHECK(state.batches_seen == 0);
  CHECK(state.samples_seen == 0);
}

TEST_CASE("a state of fixed size needs no argument and no heap") {
  const State<float, 4> state;
  CHECK(state.channels() == 4);
  CHECK(state.gamma[3] == 1.0f);
  STATIC_REQUIRE(std::is_trivially_destructible<State<float, 4>>::value);
}

TEST_CASE("a dynamic state made without argument waits to be assigned") {
  State<float> state;
  CHECK(state.channels() == 0);
  state = State<float>(2);
  CHECK(state.channels() == 2);
}

TEST_CASE("16-bit layers keep float parameters; statistics are kept in the accumulator") {
  STATIC_REQUIRE(std::is_same<State<Eigen::half>::Scalar, float>::value);
  STATIC_REQUIRE(std::is_same<State<Eigen::bfloat16>::Scalar, float>::value);
  STATIC_REQUIRE(std::is_same<State<double>::Scalar, double>::value);
  STATIC_REQUIRE(std::is_same<State<Eigen::half>::Statistic, double>::value);
  STATIC_REQUIRE(std::is_same<State<float>::Statistic, double>::value);
  STATIC_REQUIRE(std::is_same<State<long double>::Statistic, long double>::value);
  STATIC_REQUIRE(std::is_same<State<float>::Statistics::Scalar, double>::value);
}

TEST_CASE("statistics take vectors and arrays of any scalar") {
  State<float> state(2);
  state.running_mean = Eigen::Vector2f(0.5f, -3.0f);
  state.running_variance = Eigen::Array2f(4.0f, 9.0f).sqrt();
  CHECK(state.running_mean == Eigen::Vector2d(0.5, -3.0));
  CHECK(state.running_variance == Eigen::Vector2d(2.0, 3.0));
  state.running_mean = Eigen::Vector2d(0.1, 0.2);
  CHECK(state.running_mean == Eigen::Vector2d(0.1, 0.2));
  const State<float, 2> fixed = [&] {
    State<float, 2> made;
    made.running_mean = state.running_mean;
    made.running_variance = state.running_variance.array() + 1.0;
    return made;
  }();
  CHECK(fixed.running_mean == Eigen::Vector2d(0.1, 0.2));
  CHECK(fixed.running_variance == Eigen::Vector2d(3.0, 4.0));
}

TEST_CASE("statistics can be forgotten, parameters stay") {
  State<float> state(2);
  state.gamma << 3.0f, 4.0f;
  state.beta << 5.0f, 6.0f;
  state.running_mean << 7.0, 8.0;
  state.running_variance << 9.0, 10.0;
  state.batches_seen = State<float>::unknown;
  state.samples_seen = 11;
  state.batches_given = 12;
  state.mark_stale(Staleness::weights_changed);
  state.forget_statistics();
  CHECK(state.batches_given == 0);
  CHECK(state.staleness == Staleness::fresh);
  CHECK(state.gamma == Eigen::Vector2f(3.0f, 4.0f));
  CHECK(state.beta == Eigen::Vector2f(5.0f, 6.0f));
  CHECK(state.running_mean == Eigen::Vector2d(0.0, 0.0));
  CHECK(state.running_variance == Eigen::Vector2d(1.0, 1.0));
  CHECK(state.batches_seen == 0);
  CHECK(state.samples_seen == 0);
}

TEST_CASE("states are plain values") {
  std::vector<State<float>> states(2, State<float>(2));
  states[1].gamma[0] = 5.0f;
  CHECK(states[0].gamma[0] == 1.0f);
}

TEST_CASE("a number of channels that cannot be is refused") {
  CHECK_THROWS_MATCHES(State<float>(0), std::invalid_argument,
                       says("State: number of channels: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(State<float>(-3), std::invalid_argument, says("got -3"));
  CHECK_THROWS_MATCHES((State<float, 4>(5)), std::invalid_argument,
                       says("State: number of channels is fixed by the type: expected 4, got 5"));
  CHECK_NOTHROW(State<float, 4>(4));
}

TEST_CASE("a state from outside must have one shape") {
  const auto complaint = [](State<float> state) { detail::check_state_shape("load", state); };
  State<float> state(3);
  CHECK_NOTHROW(complaint(state));

  state.beta.resize(2);
  CHECK_THROWS_MATCHES(complaint(state), std::invalid_argument,
                       says("load: size of beta must be that of gamma: expected 3, got 2"));
  state = State<float>(3);
  state.running_mean.resize(4);
  CHECK_THROWS_MATCHES(complaint(state), std::invalid_argument, says("size of running_mean"));
  state = State<float>(3);
  state.running_variance.resize(0);
  CHECK_THROWS_MATCHES(complaint(state), std::invalid_argument, says("size of running_variance"));
  CHECK_THROWS_MATCHES(complaint(State<float>()), std::invalid_argument,
                       says("number of channels: expected at least 1, got 0"));
}

TEST_CASE("counters below zero are refused, but for the one that says unknown") {
  State<float> state(1);
  state.batches_seen = state.samples_seen = State<float>::unknown;
  CHECK_NOTHROW(detail::check_state_shape("load", state));
  state.samples_seen = 0;
  state.batches_seen = -2;
  CHECK_THROWS_MATCHES(detail::check_state_shape("load", state), std::invalid_argument,
                       says("counters of a state: expected zero or more, or State::unknown, got -2 "
                            "batches and 0 samples, 0 batches given"));
  state.batches_seen = 0;
  state.samples_seen = -2;
  CHECK_THROWS_MATCHES(detail::check_state_shape("load", state), std::invalid_argument,
                       says("got 0 batches and -2 samples"));
  state.samples_seen = 0;
  state.batches_given = State<float>::unknown;
  CHECK_NOTHROW(detail::check_state_shape("load", state));
  state.batches_given = -2;
  CHECK_THROWS_MATCHES(detail::check_state_shape("load", state), std::invalid_argument,
                       says("-2 batches given"));
}

TEST_CASE("statistics that no data can have are refused, naming the channel") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const auto check = [](const State<float>& state, NonFinite policy) {
    detail::check_state("BatchNorm", state, policy);
  };
  for (const NonFinite policy : {NonFinite::reject, NonFinite::skip_update}) {
    State<float> state(3);
    CHECK_NOTHROW(check(state, policy));
    state.running_variance[2] = -1e-30f;
    CHECK_THROWS_MATCHES(check(state, policy), std::domain_error,
                         says("BatchNorm: running variance of channel 2: expected zero or larger"));
    state.running_variance[2] = infinity;
    CHECK_THROWS_MATCHES(check(state, policy), std::domain_error,
                         says("BatchNorm: running statistics of channel 2: expected finite"));
    state.running_variance[2] = nan;
    CHECK_THROWS_AS(check(state, policy), std::domain_error);
    state.running_variance[2] = 0.0f;  // a constant channel: epsilon carries it
    CHECK_NOTHROW(check(state, policy));
    state.running_mean[1] = static_cast<double>(nan);
    CHECK_THROWS_MATCHES(check(state, policy), std::domain_error, says("channel 1"));
    state.running_mean[1] = -1e39;  // a number, but none that float data can have for a mean
    CHECK_THROWS_MATCHES(check(state, policy), std::domain_error,
                         says("statistics of channel 1: expected finite numbers, got NaN, infinity "
                              "or overflow"));
  }
}

TEST_CASE("where NaN is propagated a state may hold it, but no negative variance") {
  State<float> state(2);
  state.running_mean[0] = std::numeric_limits<float>::quiet_NaN();
  state.running_variance[0] = std::numeric_limits<float>::quiet_NaN();
  CHECK_NOTHROW(detail::check_state("BatchNorm", state, NonFinite::propagate));
  state.running_variance[1] = -1.0f;
  CHECK_THROWS_MATCHES(detail::check_state("BatchNorm", state, NonFinite::propagate),
                       std::domain_error, says("channel 1"));
  state.running_variance[1] = -std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(detail::check_state("BatchNorm", state, NonFinite::propagate), std::domain_error);
}

namespace {

template <class T>
State<T> of_two_channels() {
  State<T> state(2);
  state.gamma << 1.5f, -2.0f;
  state.beta << 0.25f, 3.0f;
  state.running_mean << 10.0, 0.1;
  state.running_variance << 4.0, 0.3;
  state.batches_seen = 7;
  state.samples_seen = State<T>::unknown;
  return state;
}

}  // namespace

TEST_CASE("a state goes over to another scalar") {
  const State<float> state = of_two_channels<float>();
  const State<Eigen::half> half = state.cast<Eigen::half>();
  CHECK(half.gamma == Eigen::Vector2f(1.5f, -2.0f));
  CHECK(half.running_mean == Eigen::Vector2d(10.0, 0.1));
  const State<double> wide = state.cast<double>();
  CHECK(wide.gamma == Eigen::Vector2d(1.5, -2.0));
  CHECK(wide.beta == Eigen::Vector2d(0.25, 3.0));
  CHECK(wide.running_mean == Eigen::Vector2d(10.0, 0.1));
  CHECK(wide.running_variance == Eigen::Vector2d(4.0, 0.3));
  CHECK(wide.batches_seen == 7);
  CHECK(wide.samples_seen == State<double>::unknown);

  State<double> large = wide;
  large.gamma[0] = 0.1;
  CHECK(large.cast<float>().gamma[0] == 0.1f);
  large.gamma[1] = 1e39;
  CHECK_THROWS_MATCHES(large.cast<float>(), std::domain_error,
                       says("State::cast: gamma of channel 1: expected a number in the range of "
                            "the new scalar, got one outside of it"));
  CHECK_NOTHROW(large.cast<long double>());
  large.gamma[1] = std::numeric_limits<double>::infinity();
  CHECK(large.cast<float>().gamma[1] == std::numeric_limits<float>::infinity());
}

TEST_CASE("a state goes over to a fixed number of channels and back") {
  const State<float> state = of_two_channels<float>();
  const State<float, 2> fixed = state.cast<float, 2>();
  CHECK(fixed.running_variance == Eigen::Vector2d(4.0, 0.3));
  CHECK(fixed.batches_seen == 7);
  const State<Eigen::bfloat16> back = fixed.cast<Eigen::bfloat16, Eigen::Dynamic>();
  CHECK(back.gamma == state.gamma);
  CHECK(back.running_mean == state.running_mean);
  CHECK_THROWS_MATCHES((state.cast<float, 3>()), std::invalid_argument,
                       says("number of channels is fixed by the type: expected 3, got 2"));
  CHECK_THROWS_MATCHES(State<float>().cast<double>(), std::invalid_argument,
                       says("State::cast: number of channels: expected at least 1, got 0"));
}

TEST_CASE("a state can be cut into parts") {
  State<float, 5> state;
  state.gamma << 1, 2, 3, 4, 5;
  state.beta << 6, 7, 8, 9, 10;
  state.running_mean << 11, 12, 13, 14, 15;
  state.running_variance << 16, 17, 18, 19, 20;
  state.batches_seen = 3;
  state.samples_seen = 30;
  const State<float> part = state.slice(1, 3);
  CHECK(part.gamma == Eigen::Vector3f(2, 3, 4));
  CHECK(part.beta == Eigen::Vector3f(7, 8, 9));
  CHECK(part.running_mean == Eigen::Vector3d(12, 13, 14));
  CHECK(part.running_variance == Eigen::Vector3d(17, 18, 19));
  CHECK(part.batches_seen == 3);
  CHECK(part.samples_seen == 30);
  CHECK(state.slice(4, 1).gamma[0] == 5.0f);
  CHECK(state.slice(0, 5).gamma == state.gamma);
  const auto refused = [&](Index first, Index count, const std::string& got) {
    CHECK_THROWS_MATCHES(
        state.slice(first, count), std::invalid_argument,
        says("State::slice: channels of the slice: expected 1 or more of 5, got " + got));
  };
  refused(-1, 2, "2 from channel -1 on");
  refused(0, 0, "0 from channel 0 on");
  refused(0, -1, "-1 from channel 0 on");
  refused(4, 2, "2 from channel 4 on");
  refused(5, 1, "1 from channel 5 on");
  constexpr Index most = (std::numeric_limits<Index>::max)();
  refused(1, most, std::to_string(most) + " from channel 1 on");
}

TEST_CASE("a stale state stays one when it is copied, cast and cut, until it gets statistics") {
  State<float> state = of_two_channels<float>();
  CHECK(state.staleness == Staleness::fresh);
  state.batches_given = 4;
  state.mark_stale(Staleness::weights_pruned);
  const State<float> copy = state;
  CHECK(copy.staleness == Staleness::weights_pruned);
  const State<double, 2> fixed = state.cast<double, 2>();
  CHECK(fixed.staleness == Staleness::weights_pruned);
  CHECK(fixed.batches_given == 4);
  CHECK(state.slice(1, 1).staleness == Staleness::weights_pruned);
  CHECK(state.slice(1, 1).batches_given == 4);
  state.set_statistics(Eigen::Vector2d(1, 2), Eigen::Vector2d(3, 4));
  CHECK(state.staleness == Staleness::fresh);
  CHECK(copy.staleness == Staleness::weights_pruned);
  state.mark_stale(Staleness::weights_changed);
  state = of_two_channels<float>();
  CHECK(state.staleness == Staleness::fresh);
}

TEST_CASE("a state takes statistics from elsewhere, whole or not at all") {
  State<float> state = of_two_channels<float>();
  state.set_statistics(Eigen::Vector2f(0.5f, -1), Eigen::Vector2d(3, 0), 5, 320);
  CHECK(state.running_mean == Eigen::Vector2d(0.5, -1));
  CHECK(state.running_variance == Eigen::Vector2d(3, 0));
  CHECK(state.gamma == Eigen::Vector2f(1.5f, -2.0f));
  CHECK(state.batches_seen == 5);
  CHECK(state.batches_given == 5);
  CHECK(state.samples_seen == 320);

  state.mark_stale(Staleness::weights_averaged);
  const auto refuses = [&](const Eigen::VectorXd& mean, const Eigen::VectorXd& variance,
                           Index batches, const char* text) {
    CHECK_THROWS_MATCHES(state.set_statistics(mean, variance, batches), std::logic_error,
                         says(text));
    CHECK(state.running_mean == Eigen::Vector2d(0.5, -1));
    CHECK(state.running_variance == Eigen::Vector2d(3, 0));
    CHECK(state.batches_seen == 5);
    CHECK(state.staleness == Staleness::weights_averaged);
  };
  const Eigen::Vector2d one(1, 1), nan(1, std::numeric_limits<double>::quiet_NaN());
  refuses(Eigen::Vector3d(1, 1, 1), one, 1,
          "State::set_statistics: size of mean and variance must be that of gamma: expected 2, got "
          "3 and 2");
  refuses(one, Eigen::VectorXd(1), 1, "got 2 and 1");
  refuses(nan, one, 1, "State::set_statistics: running statistics of channel 1");
  refuses(one, nan, 1, "channel 1");
  refuses(one, Eigen::Vector2d(-1, 1), 1, "running variance of channel 0: expected zero or larger");
  refuses(one, one, 0, "statistics come from something: expected counters of 1 or more");
  refuses(one, one, -2, "counters of a state");
  state.set_statistics(one, one);
  CHECK(state.batches_seen == State<float>::unknown);
  CHECK(state.batches_given == State<float>::unknown);
  CHECK(state.samples_seen == State<float>::unknown);
}

TEST_CASE("stale statistics are refused with a way to go on") {
  CHECK_NOTHROW(detail::check_fresh("f", Staleness::fresh, ""));
  CHECK_THROWS_MATCHES(
      detail::check_fresh("f", Staleness::weights_averaged, "freeze(StaleStatistics::accept)"),
      std::domain_error,
      says("f: running statistics must be those of the weights in front of the layer: expected "
           "statistics taken since the weights were averaged: by reestimate(), "
           "State::set_statistics(), or training after State::forget_statistics(); where the old "
           "ones are meant, freeze(StaleStatistics::accept), got statistics from before the "
           "weights were averaged"));
  for (const auto& [reason, word] : {std::pair{Staleness::weights_quantized, "were quantized"},
                                     std::pair{Staleness::weights_pruned, "were pruned"},
                                     std::pair{Staleness::weights_changed, "were changed"}}) {
    CHECK_THROWS_MATCHES(detail::check_fresh("f", reason, ""), std::domain_error, says(word));
  }
}
