// SPDX-License-Identifier: MIT
#include "batchnorm/variants/evalnorm.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

struct Losses {
  Real of_mean = 0, of_variance = 0;
};

/// The loss as it is written, and the parabola's lowest point.
struct Literal {
  PerChannel mu, sigma2;
  Real epsilon = 0.05L;

  static Real mean_of(const Batch& x, Size c, Size first, Size last) {
    Real sum = 0;
    for (Size n = first; n < last; ++n)
      for (Size p = 0; p < x.positions; ++p) sum += x.at(n, c, p);
    return sum / static_cast<Real>((last - first) * x.positions);
  }
  static Real variance_of(const Batch& x, Size c, Size first, Size last) {
    const Real mean = mean_of(x, c, first, last);
    Real sum = 0;
    for (Size n = first; n < last; ++n)
      for (Size p = 0; p < x.positions; ++p) sum += std::pow(x.at(n, c, p) - mean, 2.0L);
    return sum / static_cast<Real>((last - first) * x.positions);
  }

  Losses losses(const Batch& x, Real a, Real b) const {
    Losses result;
    for (Size c = 0; c < x.channels; ++c) {
      const Real unit = sigma2[c] + epsilon;
      const Real m_batch = mean_of(x, c, 0, x.samples), v_batch = variance_of(x, c, 0, x.samples);
      for (Size n = 0; n < x.samples; ++n) {
        const Real m = a * mean_of(x, c, n, n + 1) + (1 - a) * mu[c];
        const Real v = b * variance_of(x, c, n, n + 1) + (1 - b) * sigma2[c];
        result.of_mean += std::pow(m - m_batch, 2.0L) / unit / 2;
        result.of_variance += std::pow(v - v_batch, 2.0L) / (unit * unit) / 2;
      }
    }
    const Real count = static_cast<Real>(x.samples * x.channels);
    return {result.of_mean / count, result.of_variance / count};
  }
};

struct Case {
  Literal literal;
  Batch x{6, 3, 5};

  explicit Case(std::uint64_t seed) {
    Random random(seed);
    x = normal_batch(random, 6, 3, 5, 0.5L, 2);
    // Examples differ from one another as a whole.
    for (Size n = 0; n < 6; ++n)
      for (Size c = 0; c < 3; ++c) {
        const Real shift = static_cast<Real>(random.normal());
        for (Size p = 0; p < 5; ++p) x.at(n, c, p) += shift;
      }
    x = stored_as<float>(x);
    literal.mu = stored_as<float>(uniform_channels(random, 3, -1, 1));
    literal.sigma2 = stored_as<float>(uniform_channels(random, 3, 1, 5));
  }

  template <class T>
  BatchNorm<T> layer() const {
    return make_layer<T>(
        {PerChannel(3, 1), PerChannel(3, 0), literal.mu, literal.sigma2, literal.epsilon}, {});
  }
};

template <class T>
void check_case(const Case& given, Layout layout, double tolerance) {
  INFO(name_of(layout));
  const auto near = [&](double value, Real expected) {
    CHECK(std::fabs(value - static_cast<double>(expected)) <
          tolerance * std::fabs(static_cast<double>(expected)));
  };
  const Stored<T> x(given.x, layout);
  const auto loss = evalnorm_loss(given.layer<T>(), ExampleWeighing::evalnorm(0.25, 0.75),
                                  moments_of(x.view()), x.view());
  const Losses expected = given.literal.losses(given.x, 0.25L, 0.75L);
  near(loss.of_mean, expected.of_mean);
  near(loss.of_variance, expected.of_variance);
  const Real h = 1e-3L;
  const Losses above = given.literal.losses(given.x, 0.25L + h, 0.75L + h);
  const Losses below = given.literal.losses(given.x, 0.25L - h, 0.75L - h);
  near(loss.by_share_of_mean, (above.of_mean - below.of_mean) / (2 * h));
  near(loss.by_share_of_variance, (above.of_variance - below.of_variance) / (2 * h));
}

}  // namespace

TEST_CASE("the loss is what it is written as, and its derivatives are its differences") {
  const Case given(1);
  for (const Layout layout : all_layouts) {
    check_case<double>(given, layout, 1e-12);
    check_case<float>(given, layout, 1e-6);
  }
}

TEST_CASE("shares go to the lowest point of the loss") {
  Case given(2);
  given.literal.sigma2 = {8, 10, 12};  // as that of a minibatch, more than its examples have
  const Stored<double> x(given.x, Layout::channels_last);
  const auto batch = moments_of(x.view());
  const BatchNorm<double> layer = given.layer<double>();
  // A parabola through its values at 0, 1/2 and 1.
  const auto lowest = [](Real at_0, Real at_half, Real at_1) {
    const Real curvature = 4 * (at_0 - 2 * at_half + at_1);
    return 0.5L - (at_1 - at_0) / curvature;
  };
  const Losses zero = given.literal.losses(given.x, 0, 0),
               half = given.literal.losses(given.x, 0.5L, 0.5L),
               one = given.literal.losses(given.x, 1, 1);
  const Real a = lowest(zero.of_mean, half.of_mean, one.of_mean);
  const Real b = lowest(zero.of_variance, half.of_variance, one.of_variance);
  REQUIRE((a > 0 && a < 1 && b > 0 && b < 1));
  EvalNormShares shares;
  const EvalNormLoss first = shares.learn(layer, batch, x.view(), 0.25);
  CHECK(std::fabs(static_cast<Real>(first.of_mean) - zero.of_mean) < 1e-12L);
  CHECK(shares.share_of_mean() == -0.25 * first.by_share_of_mean);
  CHECK(shares.share_of_variance() == -0.25 * first.by_share_of_variance);
  for (int step = 0; step < 400; ++step) (void)shares.learn(layer, batch, x.view(), 2);
  CHECK(std::fabs(static_cast<Real>(shares.share_of_mean()) - a) < 1e-9L);
  CHECK(std::fabs(static_cast<Real>(shares.share_of_variance()) - b) < 1e-9L);
  // What is stored goes on as before.
  const EvalNormShares again(shares.share_of_mean(), shares.share_of_variance());
  CHECK(again.weighing().share_of_mean() == shares.share_of_mean());
  CHECK(again.weighing().share_of_variance() == shares.share_of_variance());
  CHECK_FALSE(again.weighing().mixes_second_moments());
}

TEST_CASE("the share of the mean is about 1 over the number of examples of a minibatch") {
  // Mean 0 and variance 1 / 3 + 1 of all data; examples of one minibatch know nothing of each
  // other, so that the best prediction of its mean from one of them is its share of it.
  for (const Size examples : {Size{2}, Size{4}, Size{8}}) {
    Random random(examples);
    const BatchNorm<double> layer = make_layer<double>(
        {PerChannel(4, 1), PerChannel(4, 0), PerChannel(4, 0), PerChannel(4, 4.0L / 3), 1e-5L}, {});
    EvalNormShares shares;
    double share = 0;
    for (int step = 0; step < 600; ++step) {
      Batch x{examples, 4, 9};
      for (Size n = 0; n < examples; ++n)
        for (Size c = 0; c < 4; ++c) {
          const Real shift = static_cast<Real>(random.uniform(-1, 1));
          for (Size p = 0; p < 9; ++p) {
            x.at(n, c, p) = shift + static_cast<Real>(random.normal());
          }
        }
      const Stored<double> stored(x, Layout::channels_first);
      (void)shares.learn(layer, moments_of(stored.view()), stored.view(), 0.25);
      if (step >= 300) share += shares.share_of_mean() / 300;
    }
    INFO(examples);
    CHECK(std::fabs(share * static_cast<double>(examples) - 1) < 0.15);
  }
}

TEST_CASE("shares stay between 0 and 1, and one example is a minibatch of itself") {
  Eigen::RowVectorXd x(4);
  x << 1, 1, 5, 5;
  const BatchNorm<double> layer = make_layer<double>(
      {PerChannel(1, 1), PerChannel(1, 0), PerChannel(1, 0), PerChannel(1, 1), 0}, {});
  const auto one = channels_first(x.data(), 1, 1, 4);
  EvalNormShares shares;
  (void)shares.learn(layer, moments_of(one), one, 1e6);
  CHECK(shares.share_of_mean() == 1);
  CHECK(shares.share_of_variance() == 1);
  CHECK(shares.learn(layer, moments_of(one), one, 1).of_mean == 0);
  // A minibatch on the other side of the running mean: less than no share is none.
  const auto two = channels_first(x.data(), 2, 1, 2);
  auto batch = moments_of(two);
  batch.mean[0] = -1;
  (void)shares.learn(layer, batch, two, 1e6);
  CHECK(shares.share_of_mean() == 0);
}

TEST_CASE("learning shares refuses what it cannot do, by name, and changes nothing then") {
  const Case given(3);
  const BatchNorm<double> layer = given.layer<double>();
  const Stored<double> x(given.x, Layout::channels_first);
  const auto batch = moments_of(x.view());
  EvalNormShares shares(0.25, 0.5);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double rate : {0.0, -1.0, nan, std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_WITH(shares.learn(layer, batch, x.view(), rate),
                      Contains("EvalNormShares::learn") && Contains("a finite number above 0"));
  }
  CHECK_THROWS_WITH(evalnorm_loss(layer, ExampleWeighing::second_moments(0.5), batch, x.view()),
                    Contains("EvalNorm mixes variances by themselves"));
  const Eigen::Array<bool, 6, 5> mask = Eigen::Array<bool, 6, 5>::Constant(true);
  CHECK_THROWS_WITH(shares.learn(layer, batch, masked(x.view(), mask), 1),
                    Contains("the moments of an example are of all its positions"));
  CHECK_THROWS_WITH(shares.learn(layer, batch, with_residual(x.view(), x.view()), 1),
                    Contains("has no residual here"));
  const Stored<double> fewer(Batch{5, 3, 5}, Layout::channels_first);
  CHECK_THROWS_AS(shares.learn(layer, batch, fewer.view(), 1), std::invalid_argument);
  CHECK_THROWS_AS(shares.learn(BatchNorm<double>(2), moments_of(x.view()), x.view(), 1),
                  std::invalid_argument);
  const Stored<double> none(Batch{0, 3, 5}, Layout::channels_first);
  CHECK_THROWS_WITH(shares.learn(layer, moments_of(none.view()), none.view(), 1),
                    Contains("an empty one"));
  Stored<double> broken = x;
  broken.view().data()[7] = nan;
  CHECK_THROWS_AS(shares.learn(layer, moments_of(broken.view()), broken.view(), 1),
                  std::domain_error);
  // Moments of other values, which are finite.
  CHECK_THROWS_WITH(shares.learn(layer, batch, broken.view(), 1), Contains("a finite loss"));
  CHECK_THROWS_AS(EvalNormShares(-0.1, 0), std::invalid_argument);
  CHECK_THROWS_AS(EvalNormShares(0, nan), std::invalid_argument);
  CHECK(shares.share_of_mean() == 0.25);
  CHECK(shares.share_of_variance() == 0.5);
}

TEST_CASE("a loss begins with nothing") {
  const EvalNormLoss nothing;
  CHECK(nothing.of_mean == 0.0);
  CHECK(nothing.of_variance == 0.0);
  CHECK(nothing.by_share_of_mean == 0.0);
  CHECK(nothing.by_share_of_variance == 0.0);
}
