// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/diagnose.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "batchnorm/recalibrate/reestimate.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Options with(const RunningUpdate& rule) {
  Options options;
  options.running = rule;
  return options;
}

/// A state of one channel with counters alone.
State<double> counted(Index batches, Index given = 0) {
  State<double> state(1);
  state.running_mean[0] = 3;
  state.running_variance[0] = 4;
  state.batches_seen = batches;
  state.samples_seen = 8 * batches;
  state.batches_given = given;
  return state;
}

/// The weights that the initial value and every minibatch have after k steps R += f (s - R), by
/// taking the steps.
std::vector<double> weights_by_steps(const RunningUpdate& rule, Index batches) {
  std::vector<double> weights{1.0};
  for (Index k = 1; k <= batches; ++k) {
    const double f = update_factor(rule, k, 8, 8 * k);
    for (double& weight : weights) weight *= 1 - f;
    weights.push_back(f);
  }
  return weights;
}

/// Those of a series of `given` minibatches of equal weight that a rule went on from.
std::vector<double> weights_from_given(const RunningUpdate& rule, Index given, Index batches) {
  std::vector<double> weights(static_cast<Size>(given) + 1, 1.0 / static_cast<double>(given));
  weights[0] = 0;
  for (Index k = given + 1; k <= batches; ++k) {
    const double f = update_factor(rule, k, 8, 8 * k);
    for (double& weight : weights) weight *= 1 - f;
    weights.push_back(f);
  }
  return weights;
}

/// Kish's number for the minibatches, the initial value left out.
double effective_number(const std::vector<double>& weights) {
  double sum = 0, squares = 0;
  for (Size i = 1; i < weights.size(); ++i) {
    sum += weights[i];
    squares += weights[i] * weights[i];
  }
  return sum * sum / squares;
}

bool near(double a, double b, double share = 1e-9) {
  return std::fabs(a - b) <= share * std::fabs(b);
}

const std::vector<RunningUpdate> all_rules = {
    RunningUpdate::take_new(0.1),        RunningUpdate::keep_old(0.99),
    RunningUpdate::take_new(1),          RunningUpdate::keep_old_debiased(0.9),
    RunningUpdate::keep_old_debiased(1), RunningUpdate::cumulative(),
    RunningUpdate::windowed(4),          RunningUpdate::population()};

}  // namespace

TEST_CASE("weight of the initial value and effective minibatches, by every rule") {
  for (const RunningUpdate& rule : all_rules) {
    for (const Index batches : {1, 2, 3, 5, 6, 7, 20, 300}) {
      INFO(detail::text_of(rule) << " after " << batches);
      const std::vector<double> weights = weights_by_steps(rule, batches);
      const Diagnosis d = diagnose(counted(batches), with(rule));
      CHECK(std::fabs(d.initial_weight - weights[0]) <= 1e-12);
      CHECK(near(d.effective_batches, effective_number(weights)));
      CHECK(d.rule == rule);
      CHECK(d.batches_seen == batches);
      Index more = 0;
      while (weights_by_steps(rule, batches + more)[0] >= 0.01) ++more;
      CHECK(d.batches_to_go == more);
    }
  }
}

TEST_CASE("the numbers that the field knows") {
  const auto of = [](const RunningUpdate& rule, Index batches) {
    return diagnose(counted(batches), with(rule));
  };
  const RunningUpdate pytorch = RunningUpdate::take_new(0.1), keras = RunningUpdate::keep_old(0.99);
  CHECK(near(of(pytorch, 1000).effective_batches, 19, 1e-6));
  CHECK(near(of(keras, 5000).effective_batches, 199, 1e-6));
  CHECK(near(of(keras, 10).effective_batches_in_the_long_run, 199));
  CHECK(near(of(RunningUpdate::windowed(100), 10).effective_batches_in_the_long_run, 201));
  CHECK(std::isinf(of(RunningUpdate::cumulative(), 10).effective_batches_in_the_long_run));
  CHECK(std::fabs(of(keras, 10).initial_weight - 0.904) < 5e-4);
  CHECK(std::fabs(of(keras, 100).initial_weight - 0.366) < 5e-4);
  CHECK(std::fabs(of(keras, 500).initial_weight - 0.0066) < 5e-5);
  CHECK(of(pytorch, 4).batches_to_go == 40);
  CHECK(of(keras, 100).batches_to_go == 359);
}

TEST_CASE("an average that started from statistics that were given") {
  for (const RunningUpdate& rule : all_rules) {
    // The debiased rule forgets what was given as if it had been averaged by it, too.
    if (rule.rule() == RunningUpdate::Rule::exponential_debiased) continue;
    for (const Index batches : {10, 11, 15, 100}) {
      INFO(detail::text_of(rule) << ", " << batches);
      const Diagnosis d = diagnose(counted(batches, 10), with(rule));
      CHECK(d.initial_weight == 0.0);
      CHECK(d.batches_to_go == 0);
      CHECK(near(d.effective_batches, effective_number(weights_from_given(rule, 10, batches))));
    }
  }
  State<double> assigned(1);
  assigned.set_statistics(Eigen::VectorXd{{1}}, Eigen::VectorXd{{2}});
  const Diagnosis d = diagnose(assigned, Options());
  CHECK(d.initial_weight == 0.0);
  CHECK(std::isnan(d.effective_batches));
  CHECK(d.mean_error.size() == 0);
}

TEST_CASE("a new layer, one that never moves, and one that nobody counted") {
  const Diagnosis fresh = diagnose(BatchNorm<float>(2));
  CHECK(fresh.initial_weight == 1.0);
  CHECK(fresh.batches_to_go == 44);
  CHECK(fresh.effective_batches == 0.0);
  CHECK(fresh.mean_error.size() == 0);
  CHECK(fresh.constant.empty());
  CHECK(diagnose(BatchNorm<float>(2, with(RunningUpdate::population()))).batches_to_go == 1);

  const Diagnosis stuck = diagnose(counted(9), with(RunningUpdate::keep_old(1)));
  CHECK(stuck.initial_weight == 1.0);
  CHECK(stuck.effective_batches == 0.0);
  CHECK(std::isinf(stuck.effective_batches_in_the_long_run));
  CHECK(std::isinf(diagnose(counted(9), with(RunningUpdate::keep_old_debiased(1)))
                       .effective_batches_in_the_long_run));
  CHECK(stuck.batches_to_go == State<double>::unknown);

  for (const Index batches : {State<double>::unknown, Index{0}}) {  // 0: assigned, not counted
    State<double> state = counted(0);
    state.batches_seen = batches;
    const Diagnosis unknown = diagnose(state, Options());
    CHECK(std::isnan(unknown.initial_weight));
    CHECK(std::isnan(unknown.effective_batches));
    CHECK(unknown.batches_to_go == State<double>::unknown);
  }
}

TEST_CASE("errors are those of independent values where nothing else is known") {
  const Diagnosis d = diagnose(counted(50), with(RunningUpdate::cumulative()));
  CHECK(near(d.mean_error[0], 2.0 / std::sqrt(400.0)));  // 50 x 8 values, s = 2
  CHECK(near(d.variance_error[0], 4.0 * std::sqrt(2.0 / 400.0)));
  CHECK(d.effective_values_per_example.size() == 0);
  CHECK(d.variance[0] == 4.0);
}

TEST_CASE("odd channels are found") {
  Options options = with(RunningUpdate::take_new(0.25));
  options.epsilon = 1e-3;
  BatchNorm<float> layer(6, options);
  Random random(2);
  for (int step = 0; step < 90; ++step) {
    Eigen::MatrixXf x(6, 16);
    for (float& value : x.reshaped()) value = static_cast<float>(random.normal());
    x.row(1).setConstant(7);  // its running variance is what is left of 1
    x.row(4) *= 1e-4f;
    layer.train(x);
  }
  State<float>& state = layer.state();
  state.gamma[2] = -0.0009f;
  state.gamma[3] = -50;
  state.mark_stale(Staleness::weights_averaged);
  const Diagnosis d = diagnose(layer);
  CHECK(d.constant == std::vector<Index>{1});
  CHECK(d.small_gamma == std::vector<Index>{2});
  CHECK(d.epsilon_rules == std::vector<Index>{4});
  CHECK(d.not_usable.empty());
  CHECK(d.is_stale());
  CHECK(d.largest_gain_channel == 3);
  CHECK(near(d.largest_gain, 50 / std::sqrt(state.running_variance[3] + 1e-3)));
  state.beta[0] = std::numeric_limits<float>::infinity();
  state.running_mean[5] = std::numeric_limits<double>::quiet_NaN();
  CHECK(diagnose(layer).not_usable == std::vector<Index>{0, 5});
  state.running_variance[1] = -1;  // of no data: it is not one that never varies
  CHECK(diagnose(layer).not_usable == std::vector<Index>{0, 1, 5});
  CHECK(diagnose(layer).constant.empty());

  options.scale = false;
  CHECK(diagnose(state, options).small_gamma.empty());  // gamma is not used
  state.set_statistics(Eigen::VectorXd::Zero(6), Eigen::VectorXd::Zero(6));
  CHECK(diagnose(layer).constant.size() == 5);  // and one is not finite
}

TEST_CASE("a series shows how much alike the values of an image are") {
  // 64 values per image with correlation 0.5 are worth 64 / (1 + 63 / 2) = 1.97 for its mean.
  constexpr Index images = 4000, positions = 64, channels = 4;
  Random random(31);
  std::vector<float> values;
  for (Index plane = 0; plane < images * channels; ++plane) {
    const double common = std::sqrt(0.5) * random.normal();
    for (Index p = 0; p < positions; ++p) {
      values.push_back(static_cast<float>(3 * (common + std::sqrt(0.5) * random.normal())));
    }
  }
  BatchNorm<float> layer(channels);
  const auto report = reestimate(layer, {images, 8}, [&](Index first, Index count) {
    return channels_first(values.data() + first * channels * positions, count, channels, positions);
  });
  const MinibatchSeries<double>& series = report.layers[0].series;
  const Diagnosis d = diagnose(layer, series);
  const Diagnosis blind = diagnose(layer);
  CHECK(d.values_per_example == 64.0);
  CHECK(d.series_minibatches == 500);
  CHECK(d.effective_batches == 500.0);
  for (Index c = 0; c < channels; ++c) {
    CHECK(near(d.effective_values_per_example[c], 64 / 32.5, 0.15));
    const double n = 500 * 8 * d.effective_values_per_example[c];
    CHECK(near(d.mean_error[c], std::sqrt(d.variance[c] / n)));
    CHECK(near(d.mean_error[c], std::sqrt(9 / (500 * 8 * 64 / 32.5)), 0.1));
    CHECK(near(d.variance_error[c], d.variance[c] * std::sqrt(2 / n)));
    CHECK(blind.mean_error[c] < 0.2 * d.mean_error[c]);
    // Minibatch variances: 2 s^4 (1 + 63 rho^2) / m with m = 512 values, s^2 = 9.
    CHECK(near(d.observed_variance_error[c], 9 * std::sqrt(2 * 16.75 / 512 / 500), 0.15));
  }
}

TEST_CASE("independent values are worth as much as there are, and never more") {
  Random random(5);
  Eigen::MatrixXd x(3, 2000);
  for (double& value : x.reshaped()) value = random.normal();
  x.row(2).setConstant(1);
  BatchNorm<double> layer(3);
  const auto report = reestimate(
      layer, {2000, 10}, [&](Index first, Index count) { return x.middleCols(first, count); });
  const Diagnosis d = diagnose(layer, report.layers[0].series);
  for (Index c = 0; c < 3; ++c) {
    CHECK(d.effective_values_per_example[c] <= 1.0);
    CHECK(d.effective_values_per_example[c] > 0.75);
  }
  CHECK(d.mean_error[2] == 0.0);
  CHECK(d.constant == std::vector<Index>{2});
  CHECK(near(d.mean_error[0], 1 / std::sqrt(2000.0), 0.2));
  CHECK(near(d.observed_variance_error[0], std::sqrt(2 / 2000.0), 0.2));
}

TEST_CASE("the standard error is how far running means really are off") {
  // 300 layers are trained on images of their own; their running means scatter about 0.
  Random random(77);
  double squares = 0, reported = 0;
  constexpr int layers = 300;
  for (int repetition = 0; repetition < layers; ++repetition) {
    BatchNorm<double> layer(1);
    MinibatchSeries<double> series(1);
    for (int step = 0; step < 60; ++step) {
      Eigen::MatrixXd x(4, 16);  // 4 images of 16 positions, rho = 0.8
      for (Index image = 0; image < 4; ++image) {
        const double common = std::sqrt(0.8) * random.normal();
        for (Index p = 0; p < 16; ++p) x(image, p) = common + std::sqrt(0.2) * random.normal();
      }
      Eigen::MatrixXd y(4, 16);
      series.add(layer.train(channels_last(x.data(), 4, 1, 16), channels_last(y.data(), 4, 1, 16)),
                 4);
    }
    const double mean = layer.state().running_mean[0];
    squares += mean * mean;
    reported += std::pow(diagnose(layer, series).mean_error[0], 2);
  }
  CHECK(near(std::sqrt(reported / layers), std::sqrt(squares / layers), 0.1));
}

TEST_CASE("a series that says nothing, or is of another layer, is refused") {
  const BatchNorm<double> layer(2);
  MinibatchSeries<double> series(2);
  series.add(moments_of(Eigen::MatrixXd::Identity(2, 2)), 2);
  CHECK_THROWS_MATCHES(diagnose(layer, series), std::invalid_argument,
                       says("diagnose: a series has a spread: expected 2 minibatches or more, got "
                            "1"));
  CHECK_THROWS_MATCHES(diagnose(layer, MinibatchSeries<double>(3)), std::invalid_argument,
                       says("diagnose: channels of the series: expected 2, got 3"));
  CHECK_THROWS_AS(diagnose(State<double>(), Options()), std::invalid_argument);
  series.add(moments_of(Eigen::MatrixXd::Identity(2, 2)), 2);
  CHECK_NOTHROW(diagnose(layer, series));
  MinibatchSeries<double> odd = series;
  odd.means = Moments<double>(1);
  odd.means.count = 2;
  CHECK_THROWS_MATCHES(diagnose(layer, odd), std::invalid_argument,
                       says("diagnose: numbers of channels of what is pooled, of means and of "
                            "variances: expected one number, got 2, 1 and 2"));
  odd = series;
  odd.variances.sum_of_squares.resize(1);
  CHECK_THROWS_MATCHES(diagnose(layer, odd), std::invalid_argument,
                       says("diagnose: means and sums of squares: expected as many"));
}

TEST_CASE("more minibatches that were given than there are is no state") {
  CHECK_THROWS_MATCHES(diagnose(counted(3, 9), Options()), std::invalid_argument,
                       says("diagnose: batches_given are some of batches_seen: expected at most 3, "
                            "got 9"));
  CHECK_NOTHROW(diagnose(counted(9, 9), Options()));
  State<double> unknown = counted(9, 9);
  unknown.batches_seen = State<double>::unknown;
  CHECK_NOTHROW(diagnose(unknown, Options()));
}

TEST_CASE("a gamma is small below a thousandth, whatever its sign") {
  State<double> state(4);
  state.gamma << 1e-3, -1e-3, std::nextafter(1e-3, 0.0), -std::nextafter(1e-3, 0.0);
  CHECK(diagnose(state, Options()).small_gamma == std::vector<Index>{2, 3});
}

TEST_CASE("two minibatches of one example are the shortest series") {
  // 0 and 2, 2 and 4: the means have a variance of 2, the values one of 8/3.
  MinibatchSeries<double> series(1);
  Moments<double> batch(1);
  batch.count = 2;
  batch.mean[0] = 1;
  batch.sum_of_squares[0] = 2;
  series.add(batch, 1);
  batch.mean[0] = 3;
  series.add(batch, 0);  // the rest of the same example
  const Diagnosis d = diagnose(counted(2), with(RunningUpdate::cumulative()), series);
  CHECK(d.series_minibatches == 2);
  CHECK(d.values_per_example == 4.0);
  CHECK(near(d.effective_values_per_example[0], 4 / (2 * 2 / (8.0 / 3))));
  series.examples = 0;
  CHECK_THROWS_AS(diagnose(counted(2), Options(), series), std::invalid_argument);
}

TEST_CASE("a series of values that count several times is one of as many values") {
  Random random(77);
  MinibatchSeries<double> weighed(2), repeated(2);
  BatchNorm<double> layer(2);
  for (int batch = 0; batch < 4; ++batch) {
    Eigen::MatrixXd x(2, 5), all(2, 15);
    Eigen::VectorXd times(5);
    Index column = 0;
    for (Index i = 0; i < 5; ++i) {
      x.col(i) << random.normal() + batch, 3 * random.normal();
      times[i] = static_cast<double>(i + 1);
      for (Index k = 0; k <= i; ++k) all.col(column++) = x.col(i);
    }
    weighed.add(moments_of(weighted(x, times, Weights::frequency)), 5);
    repeated.add(moments_of(all), 5);
    layer.commit(moments_of(all));
  }
  const Diagnosis got = diagnose(layer, weighed), expected = diagnose(layer, repeated);
  CHECK(got.values_per_example == 3.0);
  CHECK(got.mean_error.isApprox(expected.mean_error, 1e-12));
  CHECK(got.variance_error.isApprox(expected.variance_error, 1e-12));
  CHECK(got.observed_variance_error.isApprox(expected.observed_variance_error, 1e-12));
  CHECK(got.effective_values_per_example.isApprox(expected.effective_values_per_example, 1e-12));
}

TEST_CASE("values of unequal weight are worth fewer, and weights too small for a variance none") {
  const Eigen::RowVectorXd x{{1, 2, 4, 5}};
  const Eigen::Vector4d weights(1, 1, 1, 3);  // W^2 / sum(w^2) = 36 / 12
  MinibatchSeries<double> series(1);
  for (int batch = 0; batch < 2; ++batch) {
    series.add(moments_of(weighted(x, weights, Weights::reliability)), 1);
  }
  BatchNorm<double> layer(1);
  layer.commit(moments_of(x));
  CHECK_THAT(diagnose(layer, series).values_per_example, Catch::Matchers::WithinULP(3.0, 2));

  MinibatchSeries<double> light(1);
  for (int batch = 0; batch < 2; ++batch) {
    light.add(moments_of(weighted(x, Eigen::Vector4d::Constant(0.1), Weights::frequency)), 4);
  }
  CHECK_THROWS_AS(diagnose(layer, light), std::domain_error);
}
