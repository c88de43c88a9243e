// SPDX-License-Identifier: MIT
#include "batchnorm/math/single_value.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using Catch::Matchers::Contains;

namespace {

Options learning(VarianceEstimator variance) {
  Options options;
  options.running = RunningUpdate::population();
  options.running_variance = variance;
  options.single_value = SingleValue::update_only;
  return options;
}

const double values[] = {3, -1, 4, 1, -5, 9, 2, 6};

}  // namespace

TEST_CASE("minibatches of one value teach the population rule all there is to know") {
  for (const auto estimator : {VarianceEstimator::population, VarianceEstimator::sample}) {
    INFO(static_cast<int>(estimator));
    BatchNorm<double, 1> layer(learning(estimator));
    Eigen::Matrix<double, 1, 1> x, y;
    double sum = 0, square = 0, count = 0;
    for (const double value : values) {
      x[0] = value;
      const auto batch = layer.train(x, y);
      CHECK(batch.count == 1);
      sum += value;
      square += value * value;
      count += 1;
      const double mean = sum / count;
      const double all = square - count * mean * mean;
      CHECK(layer.state().running_mean[0] == Approx(mean).epsilon(1e-14));
      if (count > 1) {
        const double variance = all / (estimator == VarianceEstimator::sample ? count - 1 : count);
        CHECK(layer.state().running_variance[0] == Approx(variance).epsilon(1e-13));
        // Normalised with what the statistics have become.
        CHECK(y[0] == Approx((value - mean) / std::sqrt(variance + 1e-5)).epsilon(1e-12));
      } else {
        CHECK(y[0] == 0);
      }
      CHECK(layer.state().samples_seen == static_cast<Index>(count));
    }
  }
}

TEST_CASE("minibatches of one and of several pool into one population") {
  BatchNorm<double> layer(1, learning(VarianceEstimator::sample));
  Eigen::RowVectorXd several(5), five(5), one(1), out(1), all(7);
  several << -1, 4, 1, -5, 9;
  all << 3, several, 2;
  one << 3;
  layer.train(one, out);
  layer.train(several, five);
  one << 2;
  layer.commit(moments_of(one));
  const auto expected = moments_of(all);
  CHECK(layer.state().running_mean[0] == Approx(expected.mean[0]).epsilon(1e-14));
  CHECK(layer.state().running_variance[0] == Approx(expected.sample_variance()[0]).epsilon(1e-14));
  CHECK(layer.state().batches_seen == 3);
  CHECK(layer.state().samples_seen == 7);
}

TEST_CASE("a value beside N others is clipped softly: less than sqrt(N) deviations") {
  Options options = learning(VarianceEstimator::population);
  options.epsilon = 0;
  State<double> state(1);
  state.running_mean[0] = 1;
  state.running_variance[0] = 4;
  state.batches_seen = 1;
  state.samples_seen = 9;
  for (const double z : {-100.0, -2.0, 0.5, 3.0, 1e6}) {
    BatchNorm<double> layer(state, options);
    Eigen::RowVectorXd x(1), y(1);
    x << 1 + 2 * z;
    layer.train(x, y);
    CHECK(y[0] == Approx(z * std::sqrt(0.9) / std::sqrt(1 + z * z / 10)).epsilon(1e-12));
    CHECK(std::fabs(y[0]) < 3);
    // Backward takes these statistics as constants.
    Eigen::RowVectorXd dy(1), dx(1);
    dy << 2;
    layer.backward(moments_of(x), x, dy, dx);
    CHECK(dx[0] == Approx(2 / std::sqrt(layer.state().running_variance[0])).epsilon(1e-14));
  }
}

TEST_CASE("normalize and infer leave the statistics, and a wrong rule is refused") {
  BatchNorm<double> layer(1, learning(VarianceEstimator::sample));
  Eigen::RowVectorXd x(1), y(1);
  x << 3;
  CHECK_THROWS_WITH(layer.normalize(x, y), Contains("running statistics must come from data"));
  layer.train(x, y);
  x << 5;
  layer.normalize(x, y);
  CHECK(layer.state().samples_seen == 1);
  CHECK(y[0] == Approx(2 / std::sqrt(1 + 1e-5)));
  Options options = learning(VarianceEstimator::sample);
  options.running = RunningUpdate::take_new(0.1);
  CHECK_THROWS_WITH(BatchNorm<double>(1, options),
                    Contains("SingleValue::update_only pools values"));
}

TEST_CASE("a single value that is refused changes nothing") {
  BatchNorm<double> layer(2, learning(VarianceEstimator::population));
  Eigen::MatrixXd x(2, 1), y(2, 1);
  x << 1, std::numeric_limits<double>::quiet_NaN();
  y.setConstant(-5);
  CHECK_THROWS_WITH(layer.train(x, y), Contains("must be finite"));
  CHECK((y.array() == -5).all());
  CHECK(layer.state().samples_seen == 0);
  CHECK_THROWS_WITH(layer.commit(moments_of(x)), Contains("finite"));
  CHECK(layer.state().running_mean[0] == 0);
  layer.state().samples_seen = State<double>::unknown;
  x << 1, 2;
  CHECK_THROWS_WITH(layer.train(x, y), Contains("weighs by samples seen"));
  // Of several examples of which a mask leaves one.
  layer.state().samples_seen = 0;
  Eigen::MatrixXd three(2, 3), out(2, 3);
  three << 7, 8, 9, 1, 2, 3;
  const Eigen::Array<bool, 3, 1> mask(false, true, false);
  CHECK(layer.train(masked(three, mask), out).count == 1);
  CHECK(layer.state().running_mean[0] == 8);
  CHECK(layer.state().samples_seen == 1);
}
