// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/adaptive.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Eigen::MatrixXd draw(Random& random, Index channels, Index count, double mean = 0) {
  Eigen::MatrixXd data(channels, count);
  for (double& value : data.reshaped()) value = mean + random.normal();
  return data;
}

BatchNorm<double> trained(Random& random, Index channels) {
  BatchNorm<double> layer(channels);
  for (int step = 0; step < 5; ++step) layer.train(draw(random, channels, 16, 3));
  return layer;
}

/// Mean and population variance of values with weights, by their definition.
struct Weighed {
  long double mean = 0, variance = 0, weight = 0, squared_weight = 0;

  Weighed(const std::vector<double>& values, const std::vector<long double>& weights) {
    for (Size i = 0; i < values.size(); ++i) {
      weight += weights[i];
      squared_weight += weights[i] * weights[i];
      mean += weights[i] * values[i];
    }
    mean /= weight;
    for (Size i = 0; i < values.size(); ++i) {
      variance += weights[i] * (values[i] - mean) * (values[i] - mean);
    }
    variance /= weight;
  }
};

void check_is(const Moments<double>& seen, const Weighed& expected) {
  const auto near = [](double a, long double b) {
    return std::fabs(a - static_cast<double>(b)) <= 1e-12 * std::fabs(static_cast<double>(b));
  };
  CHECK(near(seen.mean[0], expected.mean));
  CHECK(near(seen.population_variance()[0], expected.variance));
  CHECK(near(seen.weight(), expected.weight));
  CHECK(near(seen.squared_weight(), expected.squared_weight));
}

Moments<double> of(const std::vector<double>& values) {
  return moments_of(
      Eigen::Map<const Eigen::RowVectorXd>(values.data(), static_cast<Index>(values.size())));
}

State<double> one_channel() {
  State<double> state(1);
  state.running_mean[0] = 5;
  state.running_variance[0] = 4;
  return state;
}

}  // namespace

TEST_CASE("what a stream has seen merges, and adapts as if it had come at once") {
  Random random(1);
  const BatchNorm<double> layer = trained(random, 3);
  const Eigen::MatrixXd x = draw(random, 3, 24, 8);
  AdaptiveBatchNorm<double> stream(layer, Adaptation::prior(16));
  for (const Index begin : {0, 1, 9, 16}) {
    const Index end = begin == 0 ? 1 : begin == 1 ? 9 : begin == 9 ? 16 : 24;
    stream.see(moments_of(x.middleCols(begin, end - begin)));
  }
  CHECK(stream.target().count == 24);
  const auto at_once = adapt(layer, moments_of(x), Adaptation::prior(16));
  CHECK((stream.freeze()(x) - at_once(x)).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((stream.state().running_mean -
         adapted(layer.state(), moments_of(x), Adaptation::prior(16)).running_mean)
            .norm() < 1e-13);
  CHECK(stream.target_shares()[2] == 24.0 / 40.0);
}

TEST_CASE("the source is never overwritten, and comes back to the bit") {
  Random random(2);
  const BatchNorm<double> layer = trained(random, 3);
  const Eigen::MatrixXd x = draw(random, 3, 8, 50);
  const Eigen::MatrixXd plain = layer.freeze()(x);
  for (const Forgetting& forgetting : {Forgetting::never(), Forgetting::half_life(10)}) {
    AdaptiveBatchNorm<double> stream(layer, Adaptation::prior(4), forgetting);
    const auto is_plain = [&] {
      const Eigen::MatrixXd y = stream.freeze()(x);
      return std::memcmp(y.data(), plain.data(), sizeof(double) * 24) == 0;
    };
    CHECK(is_plain());
    for (int step = 0; step < 20; ++step) stream.see(moments_of(x));
    CHECK_FALSE(is_plain());
    CHECK(stream.source().running_mean == layer.state().running_mean);
    CHECK(stream.source().running_variance == layer.state().running_variance);
    stream.forget_target();
    CHECK(is_plain());
  }
}

TEST_CASE("after a half life a value weighs half") {
  AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::prior(16),
                                   Forgetting::half_life(2));
  stream.see(of({1, 3, 8}));
  check_is(stream.target(), Weighed({1, 3, 8}, {1, 1, 1}));
  stream.see(of({-4, 6}));
  check_is(stream.target(), Weighed({1, 3, 8, -4, 6}, {.5L, .5L, .5L, 1, 1}));
  stream.see(of({2}));
  const long double r = std::sqrt(0.5L);
  check_is(stream.target(), Weighed({1, 3, 8, -4, 6, 2}, {r / 2, r / 2, r / 2, r, r, 1}));
  CHECK(stream.target().count == 6);
  // shares count values of equal weight
  const Weighed seen({1, 3, 8, -4, 6, 2}, {r / 2, r / 2, r / 2, r, r, 1});
  const auto n = static_cast<double>(seen.weight * seen.weight / seen.squared_weight);
  CHECK(std::fabs(stream.target_shares()[0] - n / (16 + n)) < 1e-14);
}

TEST_CASE("in the long run a stream is worth three half lives, and follows a change") {
  AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::target(),
                                   Forgetting::half_life(100));
  Random random(3);
  for (int step = 0; step < 300; ++step) stream.see(moments_of(draw(random, 1, 8)));
  CHECK(std::fabs(values_of_equal_weight(stream.target()) - 288.5) < 10);
  for (int step = 0; step < 300; ++step) stream.see(moments_of(draw(random, 1, 8, 20)));
  CHECK(std::fabs(stream.state().running_mean[0] - 20) < 0.3);
  CHECK(std::fabs(stream.state().running_variance[0] - 1) < 0.3);
}

TEST_CASE("what weighs next to nothing is gone") {
  AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::target(),
                                   Forgetting::half_life(1e-3));
  stream.see(of({100, 200}));
  stream.see(of({1, 3}));
  CHECK(stream.target().count == 2);
  CHECK(stream.target().mean[0] == 2);
  CHECK(stream.target().population_variance()[0] == 1);
}

TEST_CASE("a stream of nothing, and nothing in a stream") {
  AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::target(),
                                   Forgetting::half_life(2));
  stream.see(Moments<double>(1));
  CHECK(stream.target().count == 0);
  stream.see(of({1, 3}));
  stream.see(Moments<double>(1));
  check_is(stream.target(), Weighed({1, 3}, {1, 1}));
}

TEST_CASE("values with weights are forgotten, too") {
  Eigen::RowVectorXd values(3);
  values << 1, 4, 16;
  const auto seen_twice = [&](const Eigen::Vector3d& weights, Weights kind) {
    AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::prior(16),
                                     Forgetting::half_life(1));
    stream.see(moments_of(weighted(values, weights, kind)));
    stream.see(of({2}));
    return stream.target();
  };
  const std::vector<double> all = {1, 4, 16, 2};
  for (const Weights kind : {Weights::reliability, Weights::importance}) {
    check_is(seen_twice({2, 1, 0.5}, kind), Weighed(all, {1, .5L, .25L, 1}));
  }
  // two of the first value are two values
  check_is(seen_twice({2, 1, 1}, Weights::frequency),
           Weighed({1, 1, 4, 16, 2}, {.5L, .5L, .5L, .5L, 1}));
  check_is(seen_twice({2, 1, 0.5}, Weights::frequency), Weighed(all, {1, .5L, .25L, 1}));
}

TEST_CASE("what is refused leaves the stream as it was") {
  AdaptiveBatchNorm<double> stream(one_channel(), {}, Adaptation::prior(16),
                                   Forgetting::half_life(2));
  stream.see(of({1, 3}));
  Moments<double> wrong = of({2, 4});
  wrong.mean[0] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_MATCHES(stream.see(wrong), std::domain_error, says("AdaptiveBatchNorm::see"));
  CHECK_THROWS_AS(stream.see(Moments<double>(2)), std::invalid_argument);
  check_is(stream.target(), Weighed({1, 3}, {1, 1}));
  AdaptiveBatchNorm<double> alone(one_channel(), {}, Adaptation::target());
  alone.see(of({1}));
  CHECK_THROWS_AS(alone.freeze(), std::domain_error);
  alone.see(of({3}));
  CHECK_NOTHROW(alone.freeze());
}

TEST_CASE("sources and half lives that cannot be") {
  CHECK_THROWS_MATCHES(AdaptiveBatchNorm<float>(BatchNorm<float>(2), Adaptation::prior(16)),
                       std::domain_error, says("AdaptiveBatchNorm: the running statistics"));
  State<double> negative = one_channel();
  negative.running_variance[0] = -1;
  CHECK_THROWS_AS(AdaptiveBatchNorm<double>(negative, {}, Adaptation::prior(16)),
                  std::domain_error);
  for (const double wrong : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_MATCHES(Forgetting::half_life(wrong), std::invalid_argument,
                         says("Forgetting::half_life"));
  }
  CHECK(Forgetting::never().is_never());
  CHECK(Forgetting::never().kept_after(1e9) == 1);
  CHECK(Forgetting::half_life(8).kept_after(16) == 0.25);
}
