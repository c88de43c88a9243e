// SPDX-License-Identifier: MIT
// One step of the running statistics. What many steps amount to stands in laws/running.test.cpp.
#include "batchnorm/math/running.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

/// Moments of n values of one channel.
template <class A>
Moments<A> moments(Index count, A mean, A population_variance) {
  Moments<A> batch(1);
  batch.count = count;
  batch.mean[0] = mean;
  batch.sum_of_squares[0] = population_variance * static_cast<A>(count);
  return batch;
}

Options with(const RunningUpdate& rule, VarianceEstimator estimator = VarianceEstimator::sample) {
  Options options;
  options.running = rule;
  options.running_variance = estimator;
  return options;
}

State<double> state(double mean, double variance, Index batches = 0, Index samples = 0) {
  State<double> result(1);
  result.running_mean[0] = mean;
  result.running_variance[0] = variance;
  result.batches_seen = batches;
  result.samples_seen = samples;
  return result;
}

State<double> stepped(const Options& options, const Moments<double>& batch, State<double> from) {
  check_running_update("test", options, batch, from);
  apply_running_update(options, batch, from);
  return from;
}

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("weights of the new minibatch") {
  const auto factor = [](const RunningUpdate& rule, Index batch) {
    return update_factor(rule, batch, 10, 40);
  };
  for (const Index k : {1, 2, 50}) {
    CHECK(factor(RunningUpdate::take_new(0.25), k) == 0.25);
    CHECK(factor(RunningUpdate::keep_old(0.75), k) == 0.25);
    CHECK(factor(RunningUpdate::cumulative(), k) == 1.0 / static_cast<double>(k));
    CHECK(factor(RunningUpdate::population(), k) == 0.25);
  }
  CHECK(factor(RunningUpdate::windowed(4), 1) == 1.0);
  CHECK(factor(RunningUpdate::windowed(4), 4) == 0.25);
  CHECK(factor(RunningUpdate::windowed(4), 5) == 0.2);
  CHECK(factor(RunningUpdate::windowed(4), 6) == 0.2);
  CHECK(factor(RunningUpdate::windowed(4), 1000000) == 0.2);
}

TEST_CASE("the debiased weight is (1 - d) / (1 - d^k), also where that cancels") {
  using Catch::Matchers::WithinRel;
  const auto factor = [](double d, Index k) {
    return update_factor(RunningUpdate::keep_old_debiased(d), k, 1, 1);
  };
  CHECK(factor(0.5, 1) == 1.0);
  CHECK_THAT(factor(0.5, 2), WithinRel(2.0 / 3.0, 1e-15));
  CHECK_THAT(factor(0.5, 3), WithinRel(4.0 / 7.0, 1e-15));
  // 1 / (1 + d + ... + d^(k-1)): for d = 1 - 2^-40 that is 1 / k but for k / 2 parts in 2^40.
  const double d = 1.0 - 0x1p-40;
  CHECK_THAT(factor(d, 3), WithinRel((1.0 + 0x1p-40) / 3.0, 1e-15));
  CHECK_THAT(factor(d, 1), WithinRel(1.0, 1e-15));
  CHECK(factor(0.0, 1) == 1.0);
  CHECK(factor(0.0, 7) == 1.0);
  CHECK(factor(1.0, 4) == 0.25);
  CHECK_THAT(factor(0.9, 100000), WithinRel(0.1, 1e-15));
}

TEST_CASE("a step moves mean and variance by the weight") {
  const Options options = with(RunningUpdate::take_new(0.25), VarianceEstimator::population);
  const State<double> after = stepped(options, moments(10, 5.0, 9.0), state(1.0, 1.0, 3, 30));
  CHECK(after.running_mean[0] == 2.0);
  CHECK(after.running_variance[0] == 3.0);
  CHECK(after.batches_seen == 4);
  CHECK(after.samples_seen == 40);
  CHECK(after.gamma[0] == 1.0);
  CHECK(after.beta[0] == 0.0);
}

TEST_CASE("the sample variance is n / (n - 1) of the population variance") {
  const Options options = with(RunningUpdate::take_new(1.0), VarianceEstimator::sample);
  CHECK(stepped(options, moments(5, 0.0, 8.0), state(0, 1)).running_variance[0] == 10.0);
  CHECK(stepped(options, moments(2, 0.0, 8.0), state(0, 1)).running_variance[0] == 16.0);
}

TEST_CASE("weight 0 keeps every bit, weight 1 takes every bit, whatever the other number is") {
  const State<double> odd = state(0.1, 0.3);
  const State<double> kept = stepped(with(RunningUpdate::take_new(0)), moments(3, 1e300, 0.7), odd);
  CHECK(kept.running_mean[0] == 0.1);
  CHECK(kept.running_variance[0] == 0.3);
  const State<double> taken =
      stepped(with(RunningUpdate::take_new(1), VarianceEstimator::population), moments(4, 0.1, 0.3),
              state(1e300, 1e300));
  CHECK(taken.running_mean[0] == 0.1);
  CHECK(taken.running_variance[0] == 0.3);
}

TEST_CASE("counting goes on where a loaded state stopped") {
  const Options options = with(RunningUpdate::cumulative(), VarianceEstimator::population);
  const State<double> after = stepped(options, moments(6, 9.0, 7.0), state(1.0, 3.0, 3));
  CHECK(after.running_mean[0] == 3.0);
  CHECK(after.running_variance[0] == 4.0);
  CHECK(after.batches_seen == 4);
}

TEST_CASE("the population's variance includes the spread between minibatches") {
  const Options biased = with(RunningUpdate::population(), VarianceEstimator::population);
  // 4 values about 0 and 4 about 6, each of variance 2: together mean 3, variance 2 + 3^2.
  const State<double> first = stepped(biased, moments(4, 0.0, 2.0), state(0.0, 1.0));
  CHECK(first.running_mean[0] == 0.0);
  CHECK(first.running_variance[0] == 2.0);
  const State<double> both = stepped(biased, moments(4, 6.0, 2.0), first);
  CHECK(both.running_mean[0] == 3.0);
  CHECK(both.running_variance[0] == 11.0);
  CHECK(both.samples_seen == 8);

  const Options unbiased = with(RunningUpdate::population(), VarianceEstimator::sample);
  const State<double> sample = stepped(unbiased, moments(4, 6.0, 2.0),
                                       stepped(unbiased, moments(4, 0.0, 2.0), state(0.0, 1.0)));
  CHECK(sample.running_variance[0] == 88.0 / 7.0);
}

TEST_CASE("a population cannot go on from a state that does not say how much it has seen") {
  const Options options = with(RunningUpdate::population());
  const State<double> from = state(0.0, 1.0, 5, 0);
  CHECK_THROWS_MATCHES(check_running_update("commit", options, moments(4, 0.0, 1.0), from),
                       std::domain_error,
                       says("commit: the population rule weighs by samples seen"));
  const Options other = with(RunningUpdate::cumulative());
  CHECK_NOTHROW(check_running_update("commit", other, moments(4, 0.0, 1.0), from));
}

TEST_CASE("a step that is not finite is refused, naming the channel") {
  Moments<double> batch(3);
  batch.count = 2;
  State<float> from(3);
  const Options options;
  CHECK_NOTHROW(check_running_update("commit", options, batch, from));
  batch.sum_of_squares[1] = 1e40;  // finite in double, not in the float of the data
  CHECK_THROWS_MATCHES(check_running_update("commit", options, batch, from), std::domain_error,
                       says("commit: new running statistics of channel 1: expected finite"));
  batch.sum_of_squares[1] = 0.0;
  for (const double bad : {not_a_number, infinity, -infinity, 1e40}) {
    batch.mean[2] = bad;
    CHECK_THROWS_MATCHES(check_running_update("commit", options, batch, from), std::domain_error,
                         says("channel 2"));
  }
  Options propagate;
  propagate.non_finite = NonFinite::propagate;
  CHECK_NOTHROW(check_running_update("commit", propagate, batch, from));
  apply_running_update(propagate, batch, from);
  CHECK(from.running_mean[2] == 0.1 * 1e40);
  CHECK(from.running_mean[0] == 0.0);
}

TEST_CASE("a running variance below zero is refused and not averaged on, under any policy") {
  const Moments<double> batch = moments(4, 0.0, 1.0);
  for (const double bad : {-1.0, -1e-300, -infinity}) {
    const State<double> from = state(0.0, bad, 1, 4);
    for (const NonFinite policy :
         {NonFinite::reject, NonFinite::skip_update, NonFinite::propagate}) {
      Options options = with(RunningUpdate::take_new(1.0));
      options.non_finite = policy;
      CHECK_THROWS_MATCHES(
          check_running_update("commit", options, batch, from), std::domain_error,
          says("commit: running variance of channel 0: expected zero or larger, got a negative"));
    }
  }
  CHECK_NOTHROW(check_running_update("commit", Options(), batch, state(0.0, -0.0, 1, 4)));
  Options propagate;
  propagate.non_finite = NonFinite::propagate;
  CHECK_NOTHROW(
      check_running_update("commit", propagate, batch, state(not_a_number, not_a_number, 1, 4)));
}

TEST_CASE("counters that would overflow are refused") {
  constexpr Index most = (std::numeric_limits<Index>::max)();
  const Moments<double> batch = moments(4, 0.0, 1.0);
  const auto check = [&](Index batches, Index samples) {
    check_running_update("commit", Options(), batch, state(0.0, 1.0, batches, samples));
  };
  CHECK_NOTHROW(check(most - 1, most - 4));
  CHECK_THROWS_MATCHES(check(most, 4), std::invalid_argument,
                       says("commit: number of minibatches seen, all together: expected at most " +
                            std::to_string(most) + ", got " + std::to_string(most) + " and 1"));
  CHECK_THROWS_MATCHES(check(1, most - 3), std::invalid_argument,
                       says("commit: number of samples seen, all together: expected at most " +
                            std::to_string(most) + ", got " + std::to_string(most - 3) + " and 4"));
}

TEMPLATE_TEST_CASE("small layers average in double and keep double", "", float, Eigen::half,
                   Eigen::bfloat16) {
  const Moments<double> batch = moments(4, 1.0 + 0x1p-40, 0.5 + 0x1p-50);
  State<TestType> from(1);
  const Options options = with(RunningUpdate::take_new(1), VarianceEstimator::population);
  apply_running_update(options, batch, from);
  CHECK(from.running_mean[0] == 1.0 + 0x1p-40);
  CHECK(from.running_variance[0] == 0.5 + 0x1p-50);
}

TEST_CASE("a counter that nobody kept stays unknown, and the other one counts") {
  constexpr Index unknown = State<double>::unknown;
  const Options options = with(RunningUpdate::take_new(0.5), VarianceEstimator::population);
  const State<double> none =
      stepped(options, moments(4, 0.0, 2.0), state(5.0, 4.0, unknown, unknown));
  CHECK(none.running_mean[0] == 2.5);
  CHECK(none.running_variance[0] == 3.0);
  CHECK(none.batches_seen == unknown);
  CHECK(none.samples_seen == unknown);
  const State<double> batches = stepped(options, moments(4, 0.0, 2.0), state(5.0, 4.0, 7, unknown));
  CHECK(batches.batches_seen == 8);
  CHECK(batches.samples_seen == unknown);
  const State<double> samples =
      stepped(options, moments(4, 0.0, 2.0), state(5.0, 4.0, unknown, 70));
  CHECK(samples.batches_seen == unknown);
  CHECK(samples.samples_seen == 74);
}

TEST_CASE("rules that divide by a count refuse statistics that do not say what they come from") {
  constexpr Index unknown = State<double>::unknown;
  const Moments<double> batch = moments(4, 0.0, 0.5);
  for (const RunningUpdate& rule :
       {RunningUpdate::cumulative(), RunningUpdate::windowed(100),
        RunningUpdate::keep_old_debiased(0.9), RunningUpdate::population()}) {
    const bool pooled = rule == RunningUpdate::population();
    const Options options = with(rule);
    const auto refused = [&](Index batches, Index samples, const std::string& got) {
      State<double> from = state(5.0, 4.0, batches, samples);
      CHECK_THROWS_MATCHES(
          check_running_update("commit", options, batch, from), std::domain_error,
          says(std::string(pooled ? "commit: the population rule weighs by samples seen"
                                  : "commit: cumulative, windowed and debiased rules divide by "
                                    "minibatches seen") +
               ": expected a count of what the running statistics come from in state()." +
               (pooled ? "samples_seen" : "batches_seen") +
               "; where nobody knows it, give a guess, use RunningUpdate::take_new or keep_old, or "
               "start anew with state().forget_statistics(), got " +
               got));
    };
    refused(unknown, unknown, "State::unknown");
    refused(0, 0, "0 beside statistics that are not those of a new layer");
    if (pooled) {
      refused(3, unknown, "State::unknown");
      refused(3, 0, "0 in a state that has seen minibatches");
      refused(unknown, 0, "0 in a state that has seen minibatches");
      CHECK_NOTHROW(stepped(options, batch, state(5.0, 4.0, unknown, 12)));
    } else {
      refused(unknown, 12, "State::unknown");
      refused(0, 12, "0 beside statistics that are not those of a new layer");
      CHECK_NOTHROW(stepped(options, batch, state(5.0, 4.0, 3, unknown)));
    }
    // The ways out.
    State<double> anew = state(5.0, 4.0, unknown, unknown);
    anew.forget_statistics();
    CHECK(stepped(options, batch, anew).running_mean[0] == 0.0);
    CHECK(stepped(options, batch, state(5.0, 4.0, 3, 12)).running_mean[0] > 3.0);
    CHECK_NOTHROW(stepped(options, batch, state(0.0, 1.0)));
  }
  for (const RunningUpdate& rule : {RunningUpdate::take_new(0.5), RunningUpdate::keep_old(0.5)}) {
    CHECK(stepped(with(rule), batch, state(5.0, 4.0)).running_mean[0] == 2.5);
  }
}

TEST_CASE("a state knows of as many values as frequencies count", "[running]") {
  const Eigen::RowVectorXd values{{1, 3, 8}}, repeated{{1, 3, 3, 3, 8, 8}}, more{{2, 5}};
  const Eigen::Vector3d times(1, 3, 2);
  const auto moments = moments_of(weighted(values, times, Weights::frequency));
  for (const auto variance : {VarianceEstimator::sample, VarianceEstimator::population}) {
    Options options = with(RunningUpdate::population());
    options.running_variance = variance;
    State<double> weighed(1), plain(1);
    set_statistics(weighed, moments, variance);
    set_statistics(plain, moments_of(repeated), variance);
    CHECK(weighed.samples_seen == 6);
    for (int step = 0; step < 2; ++step) {  // the second one weighs what came before by its values
      CHECK_THAT(weighed.running_mean[0], Catch::Matchers::WithinULP(plain.running_mean[0], 4));
      CHECK_THAT(weighed.running_variance[0],
                 Catch::Matchers::WithinULP(plain.running_variance[0], 8));
      weighed.batches_seen = plain.batches_seen = 1;
      weighed = stepped(options, moments_of(more), weighed);
      plain = stepped(options, moments_of(more), plain);
    }
  }
}

TEST_CASE("a state takes the statistics of moments", "[running]") {
  const Moments<double> moments = moments_of(Eigen::MatrixXd{{1, 3, 8, 4}, {2, 2, 2, 2}});
  State<float> state(2);
  state.mark_stale(Staleness::weights_averaged);
  set_statistics(state, moments);
  CHECK(state.running_mean == Eigen::Vector2d(4, 2));
  CHECK_THAT(state.running_variance[0], Catch::Matchers::WithinULP(26.0 / 3.0, 1));
  CHECK(state.running_variance[1] == 0.0);
  CHECK(state.samples_seen == 4);
  CHECK(state.batches_seen == State<float>::unknown);
  CHECK(state.staleness == Staleness::fresh);
  set_statistics(state, moments, VarianceEstimator::population, 2);
  CHECK(state.running_variance[0] == 6.5);
  CHECK(state.batches_seen == 2);

  const Moments<double> single = moments_of(Eigen::MatrixXd{{1}, {2}});
  CHECK_THROWS_MATCHES(set_statistics(state, single), std::invalid_argument,
                       says("set_statistics: values that the statistics come from: expected at "
                            "least 2, got 1"));
  CHECK_THROWS_AS(set_statistics(state, Moments<double>(2), VarianceEstimator::population),
                  std::invalid_argument);
  CHECK_THROWS_AS(set_statistics(state, moments_of(Eigen::MatrixXd::Ones(3, 4))),
                  std::invalid_argument);
  CHECK(state.running_variance[0] == 6.5);
  set_statistics(state, single, VarianceEstimator::population);
  CHECK(state.running_mean == Eigen::Vector2d(1, 2));
}
