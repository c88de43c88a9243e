// SPDX-License-Identifier: MIT
// Running statistics of float data after very many minibatches, whatever the mean is beside the
// deviation: they stay as near to the rule as double allows, and never stand still.
#include <cmath>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/running.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Size minibatches = 100000;
/// One channel for each mean; the deviation is 1.
const std::vector<double> scales = {1, 1e2, 1e4, 1e6, 1e8};

/// What one minibatch of one channel says: n, mean, and sum of squared deviations.
struct Summary {
  Real n, mean, squares;
};

/// Sizes from 2 to 65, and moments as values of deviation 1 have them. The mean drifts by one
/// deviation on the way, so that an average that stands still is seen.
Moments<double> draw(Random& random, Size k) {
  Moments<double> batch(static_cast<Index>(scales.size()));
  batch.count = static_cast<Index>(2 + random.below(64));
  const double n = static_cast<double>(batch.count);
  const double drift = static_cast<double>(k) / static_cast<double>(minibatches);
  for (Size c = 0; c < scales.size(); ++c) {
    const Index channel = static_cast<Index>(c);
    batch.mean[channel] = scales[c] + drift + random.uniform(-1, 1) / std::sqrt(n);
    batch.sum_of_squares[channel] = (n - 1) * random.uniform(0.5, 1.5);
  }
  return batch;
}

/// A rule as its definition has it, in long double, one statistic after the other.
class Recursion {
 public:
  virtual ~Recursion() = default;
  virtual void see(const Summary& batch) = 0;
  virtual Real mean() const = 0;
  virtual Real variance() const = 0;
};

/// R_k = (1 - f_k) R_(k-1) + f_k s_k, f_k given; bessel 1 for the sample variance.
class Average : public Recursion {
 public:
  Average(std::function<Real(Real)> factor, int bessel)
      : factor_(std::move(factor)), bessel_(bessel) {}

  void see(const Summary& batch) override {
    const Real f = factor_(++k_);
    mean_ = (1 - f) * mean_ + f * batch.mean;
    variance_ = (1 - f) * variance_ + f * (batch.squares / (batch.n - bessel_));
  }
  Real mean() const override { return mean_; }
  Real variance() const override { return variance_; }

 private:
  std::function<Real(Real)> factor_;
  int bessel_;
  Real k_ = 0, mean_ = 0, variance_ = 1;
};

/// The moments of all values, from sums about a number that stays.
class Everything : public Recursion {
 public:
  Everything(Real about, int bessel) : about_(about), bessel_(bessel) {}

  void see(const Summary& batch) override {
    const Real d = batch.mean - about_;
    n_ += batch.n;
    sum_ += batch.n * d;
    squares_ += batch.squares + batch.n * d * d;
  }
  Real mean() const override { return about_ + sum_ / n_; }
  Real variance() const override { return (squares_ - sum_ * sum_ / n_) / (n_ - bessel_); }

 private:
  Real about_;
  int bessel_;
  Real n_ = 0, sum_ = 0, squares_ = 0;
};

using Maker = std::function<std::unique_ptr<Recursion>(Real scale, int bessel)>;

Maker average(const std::function<Real(Real)>& factor) {
  return [factor](Real, int bessel) { return std::make_unique<Average>(factor, bessel); };
}

/// @param memory  how many steps back a rounding still counts, at most
void check_rule(const RunningUpdate& rule, VarianceEstimator estimator, Real memory,
                const Maker& make) {
  const int bessel = estimator == VarianceEstimator::sample ? 1 : 0;
  Options options;
  options.running = rule;
  options.running_variance = estimator;
  State<float> state(static_cast<Index>(scales.size()));
  std::vector<std::unique_ptr<Recursion>> exact;
  for (const double scale : scales) exact.push_back(make(scale, bessel));
  Random random(44);
  for (Size k = 0; k < minibatches; ++k) {
    const Moments<double> batch = draw(random, k);
    check_running_update("law", options, batch, state);
    apply_running_update(options, batch, state);
    for (Size c = 0; c < scales.size(); ++c) {
      const Index channel = static_cast<Index>(c);
      exact[c]->see(
          {static_cast<Real>(batch.count), batch.mean[channel], batch.sum_of_squares[channel]});
    }
  }
  for (Size c = 0; c < scales.size(); ++c) {
    INFO("mean " << scales[c]);
    const Index channel = static_cast<Index>(c);
    // Every step rounds once or twice more, to either side, and the mean's error is in the
    // squares of what is measured from it.
    const Real step = 8 * std::sqrt(memory) * std::ldexp(1.0L, -53);
    const Real mean = exact[c]->mean(), variance = exact[c]->variance();
    CHECK(std::fabs(state.running_mean[channel] - mean) <= step * std::fabs(mean));
    CHECK(std::fabs(state.running_variance[channel] - variance) <=
          step * (variance + std::fabs(mean) * std::sqrt(variance)));
  }
}

}  // namespace

TEST_CASE("an average of the last thousand minibatches follows, at any scale") {
  check_rule(RunningUpdate::keep_old(0.999), VarianceEstimator::population, 1000,
             average([](Real) { return 0.001L; }));
}

TEST_CASE("an average of the last ten follows") {
  check_rule(RunningUpdate::take_new(0.1), VarianceEstimator::sample, 10,
             average([](Real) { return 0.1L; }));
}

TEST_CASE("a debiased average follows") {
  const double d = 0.999;
  check_rule(RunningUpdate::keep_old_debiased(d), VarianceEstimator::population, 1000,
             average([d](Real k) { return (1 - Real(d)) / (1 - std::pow(Real(d), k)); }));
}

TEST_CASE("a windowed average follows") {
  check_rule(RunningUpdate::windowed(100), VarianceEstimator::sample, 101,
             average([](Real k) { return 1 / std::fmin(k, 101); }));
}

TEST_CASE("a cumulative average does not stand still") {
  check_rule(RunningUpdate::cumulative(), VarianceEstimator::sample, minibatches,
             average([](Real k) { return 1 / k; }));
}

TEST_CASE("the population is that of all values") {
  for (const VarianceEstimator estimator :
       {VarianceEstimator::population, VarianceEstimator::sample}) {
    check_rule(RunningUpdate::population(), estimator, minibatches,
               [](Real scale, int bessel) { return std::make_unique<Everything>(scale, bessel); });
  }
}

TEST_CASE("a mean of ten thousand moves by less than the last digit of float") {
  Options options;
  options.running = RunningUpdate::keep_old(0.999);
  BatchNorm<float> layer(1, options);
  layer.state().running_mean[0] = static_cast<double>(10000.3f);
  Moments<double> batch(1);
  batch.count = 32;
  batch.mean[0] = 10000;
  batch.sum_of_squares[0] = 32 * 0.01;
  for (int k = 0; k < 20000; ++k) layer.commit(batch);
  // What is left of the start is 0.999^20000 = 2e-9 of it.
  CHECK_THAT(layer.state().running_mean[0], Catch::Matchers::WithinAbs(10000.0, 1e-8));
}

TEST_CASE("population() over four minibatches of one channel, by hand") {
  Options options;
  options.running = RunningUpdate::population();
  options.running_variance = VarianceEstimator::population;
  BatchNorm<float> layer(1, options);
  const std::vector<std::vector<float>> all = {
      {10000, 10001, 10002}, {10000, 10001.5f}, {10003, 10004.5f}, {10006, 10007.5f}};
  for (const std::vector<float>& values : all) {
    const Eigen::Map<const Eigen::RowVectorXf> x(values.data(), static_cast<Index>(values.size()));
    layer.train(Eigen::RowVectorXf(x));
  }
  // Less 10000: nine values of sum 25.5 and sum of squares 128.75.
  CHECK_THAT(layer.state().running_mean[0], Catch::Matchers::WithinRel(10000 + 25.5 / 9, 1e-15));
  CHECK_THAT(layer.state().running_variance[0], Catch::Matchers::WithinRel(56.5 / 9, 1e-12));
}
