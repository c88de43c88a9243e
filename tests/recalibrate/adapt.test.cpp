// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/adapt.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> draw(Random& random, Index channels, Index count,
                                                      double mean = 0, double deviation = 1) {
  Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> data(channels, count);
  for (T& value : data.reshaped()) value = static_cast<T>(mean + deviation * random.normal());
  return data;
}

/// A layer that was trained a little, with a gamma and beta of its own.
template <class T>
BatchNorm<T> trained(Random& random, Index channels, const Options& options = {}) {
  BatchNorm<T> layer(channels, options);
  for (Index c = 0; c < channels; ++c) {
    layer.state().gamma[c] = static_cast<T>(random.uniform(-2, 2));
    layer.state().beta[c] = static_cast<T>(random.uniform(-1, 1));
  }
  for (int step = 0; step < 5; ++step) layer.train(draw<T>(random, channels, 16, 3, 2));
  return layer;
}

template <class Matrix>
bool same_bits(const Matrix& a, const Matrix& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(),
                     static_cast<Size>(a.size()) * sizeof(typename Matrix::Scalar)) == 0;
}

/// A layer of one channel with mean 5, standard deviation 2 and gamma 1.
BatchNorm<double> simple(double epsilon) {
  Options options;
  options.epsilon = epsilon;
  State<double> state(1);
  state.running_mean[0] = 5;
  state.running_variance[0] = 4;
  return BatchNorm<double>(state, options);
}

double one_value(const BatchNorm<double>& layer, double x, const Adaptation& how) {
  const Eigen::VectorXd value = Eigen::VectorXd::Constant(1, x);
  return adapt(layer, moments_of(value), how)(value)(0, 0);
}

}  // namespace

TEST_CASE("one value is clipped softly: z sqrt(N / (N + 1)) / sqrt(1 + z^2 / (N + 1))") {
  const BatchNorm<double> layer = simple(0);
  for (const double n : {0.5, 1.0, 4.0, 16.0, 1e3, 1e6}) {
    for (const double z : {0.0, 0.1, -0.7, 1.0, 3.0, -10.0, 1e3, 1e6}) {
      INFO("N " << n << ", z " << z);
      const long double exact = z * std::sqrt(n / (n + 1.0L)) /
                                std::sqrt(1.0L + static_cast<long double>(z) * z / (n + 1));
      const double clipped = one_value(layer, 5 + 2 * z, Adaptation::prior(n));
      CHECK(std::fabs(clipped - static_cast<double>(exact)) <=
            1e-9 * std::fabs(static_cast<double>(exact)));
      const double as_papers = one_value(layer, 5 + 2 * z, Adaptation::prior(n).plain_mix());
      CHECK(std::fabs(as_papers - z * std::sqrt(n / (n + 1))) <= 1e-9 * std::fabs(z));
    }
  }
}

TEST_CASE("one value never leaves as more than sqrt(N), with any epsilon") {
  for (const double epsilon : {0.0, 1e-5, 1e-3, 10.0}) {
    const BatchNorm<double> layer = simple(epsilon);
    for (const double n : {0.25, 1.0, 16.0, 1e4}) {
      for (const double x : {-1e12, -1e3, 4.0, 5.1, 30.0, 1e9, 1e15}) {
        CHECK(std::fabs(one_value(layer, x, Adaptation::prior(n))) <= std::sqrt(n) * (1 + 1e-12));
      }
    }
  }
}

TEST_CASE("one value goes on as it is for N without bounds") {
  const BatchNorm<double> layer = simple(0);
  CHECK(std::fabs(one_value(layer, 11, Adaptation::prior(1e12)) - 3) < 1e-10);
  CHECK(one_value(layer, 11, Adaptation::prior(infinity)) == 3);
}

TEMPLATE_TEST_CASE("an infinite N, a share of 0 and no data are plain inference, to the bit", "",
                   float, double) {
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic>;
  Random random(1);
  Options relu;
  relu.epilogue = Epilogue::relu();
  for (const Options& options : {Options{}, Options::keras(), relu}) {
    const BatchNorm<TestType> layer = trained<TestType>(random, 7, options);
    const Matrix x = draw<TestType>(random, 7, 33, 40, 9);
    const Matrix plain = layer.freeze()(x);
    const auto seen = moments_of(x);
    using Nothing = Moments<accumulator_t<TestType>>;
    CHECK(same_bits<Matrix>(adapt(layer, seen, Adaptation::source())(x), plain));
    CHECK(same_bits<Matrix>(adapt(layer, seen, Adaptation::prior(infinity))(x), plain));
    CHECK(same_bits<Matrix>(adapt(layer, seen, Adaptation::share(0))(x), plain));
    CHECK(same_bits<Matrix>(adapt(layer, seen, Adaptation::source().plain_mix())(x), plain));
    for (const Adaptation& how : {Adaptation::target(), Adaptation::prior(4), Adaptation::share(1),
                                  Adaptation::automatic()}) {
      CHECK(same_bits<Matrix>(adapt(layer, Nothing(7), how)(x), plain));
      CHECK(same_bits<Matrix>(adapt(layer, Nothing(), how)(x), plain));
    }
    CHECK_FALSE(same_bits<Matrix>(adapt(layer, seen, Adaptation::prior(1e6))(x), plain));
  }
}

TEST_CASE("target statistics normalise the target with its own mean and variance") {
  Random random(2);
  const BatchNorm<double> layer = trained<double>(random, 3);
  const Eigen::MatrixXd x = draw<double>(random, 3, 20, -7, 5);
  const Eigen::MatrixXd y = adapt(layer, moments_of(x), Adaptation::target())(x);
  for (Index c = 0; c < 3; ++c) {
    long double mean = 0, variance = 0;
    for (Index i = 0; i < 20; ++i) mean += x(c, i) / 20.0L;
    for (Index i = 0; i < 20; ++i) variance += (x(c, i) - mean) * (x(c, i) - mean) / 20.0L;
    for (Index i = 0; i < 20; ++i) {
      const long double h = (x(c, i) - mean) / std::sqrt(variance + 1e-5L);
      const auto expected = static_cast<double>(layer.state().gamma[c] * h + layer.state().beta[c]);
      CHECK(std::fabs(y(c, i) - expected) < 1e-13);
    }
  }
  CHECK(same_bits<Eigen::MatrixXd>(adapt(layer, moments_of(x), Adaptation::share(1))(x), y));
}

TEST_CASE("an adapted state has mixed statistics, and all else of the source, which stays") {
  State<float> source(1);
  source.gamma[0] = 2;
  source.beta[0] = -1;
  source.running_mean[0] = 2;
  source.running_variance[0] = 4;
  source.batches_seen = 9;
  source.samples_seen = 90;
  // two values, mean 10 and variance 8, beside a source of 6
  const auto target = moments_of(Eigen::RowVector2f(10 - std::sqrt(8.0f), 10 + std::sqrt(8.0f)));
  const State<float> mixed = adapted(source, target, Adaptation::prior(6));
  CHECK(std::fabs(mixed.running_mean[0] - 4) < 1e-6);
  CHECK(std::fabs(mixed.running_variance[0] - 17) < 1e-5);
  CHECK(mixed.gamma[0] == 2);
  CHECK(mixed.beta[0] == -1);
  CHECK(mixed.batches_seen == 9);
  CHECK(mixed.samples_seen == 90);
  CHECK(source.running_mean[0] == 2);
  CHECK(source.running_variance[0] == 4);
  const State<float> same = adapted(source, target, Adaptation::share(0.25));
  CHECK(same.running_mean == mixed.running_mean);
  CHECK(same.running_variance == mixed.running_variance);
}

TEST_CASE("values that are alike count as fewer") {
  const BatchNorm<double> layer = simple(1e-5);
  Eigen::MatrixXd images(1, 32);  // two images of 16 positions each
  Random random(3);
  for (double& value : images.reshaped()) value = 8 + random.normal();
  const auto target = moments_of(images);
  const auto share = [&](const Adaptation& how) {
    return target_shares(layer.state(), target, how)[0];
  };
  CHECK(share(Adaptation::prior(32)) == 0.5);
  CHECK(share(Adaptation::prior(2).values_alike(16)) == 0.5);
  CHECK(share(Adaptation::automatic().values_alike(16)) < share(Adaptation::automatic()));
  CHECK(share(Adaptation::automatic()) ==
        detail::automatic_share(target.mean[0] - 5, 4, target.population_variance()[0], 32));
}

TEST_CASE("automatic leaves channels that did not move, and takes over those that did") {
  Random random(6);
  BatchNorm<double> layer(2);
  layer.state().set_statistics(Eigen::Vector2d(0, 0), Eigen::Vector2d(1, 1));
  Eigen::MatrixXd x = draw<double>(random, 2, 64);
  x.row(0).array() -= x.row(0).mean();
  x.row(1).array() += 5;
  const Eigen::VectorXd shares =
      target_shares(layer.state(), moments_of(x), Adaptation::automatic());
  CHECK(shares[0] == 0);
  CHECK(shares[1] > 0.999);
}

TEST_CASE("fixed numbers of channels, and half") {
  State<Eigen::half, 2> source;
  source.running_mean << 1, 2;
  const auto target = moments_of(Eigen::MatrixXf{{3, 5}, {2, 2}});
  const auto frozen = adapt(source, Options::pytorch(), target, Adaptation::target());
  CHECK(frozen.pivot()[0] == 4);
  CHECK(frozen.pivot()[1] == 2);
  CHECK(adapted(source, target, Adaptation::share(0.5)).running_mean[0] == 2.5);
}

TEST_CASE("one value per channel cannot replace the source") {
  const BatchNorm<double> layer = simple(1e-5);
  for (const Adaptation& how :
       {Adaptation::target(), Adaptation::share(1), Adaptation::prior(0).plain_mix()}) {
    CHECK_THROWS_MATCHES(one_value(layer, 3, how), std::domain_error,
                         says("adapted: test data that are to replace the source: expected at "
                              "least 2 values per channel, or Adaptation::prior(N), which is safe "
                              "with one, got 1"));
  }
  CHECK_NOTHROW(one_value(layer, 3, Adaptation::automatic()));
  CHECK_NOTHROW(one_value(layer, 3, Adaptation::share(0.999)));
}

TEST_CASE("targets that are none of this layer are refused") {
  Random random(7);
  const BatchNorm<float> layer = trained<float>(random, 3);
  const Adaptation how = Adaptation::prior(16);
  CHECK_THROWS_AS(adapt(layer, moments_of(draw<float>(random, 2, 4)), how), std::invalid_argument);
  Moments<double> wrong = moments_of(draw<float>(random, 3, 4));
  wrong.mean[1] = std::nan("");
  CHECK_THROWS_MATCHES(adapt(layer, wrong, how), std::domain_error, says("channel 1"));
  CHECK_THROWS_AS(target_shares(layer.state(), wrong, how), std::domain_error);
  wrong = moments_of(draw<float>(random, 3, 4));
  wrong.sum_of_squares[2] = -1;
  CHECK_THROWS_AS(adapt(layer, wrong, how), std::domain_error);
}

TEST_CASE("sources without statistics, and stale ones, are refused") {
  const auto target = moments_of(Eigen::MatrixXf{{3, 5}, {2, 2}});
  BatchNorm<float> layer(2);
  CHECK_THROWS_MATCHES(adapt(layer, target, Adaptation::prior(16)), std::domain_error,
                       says("adapt: the running statistics must come from data"));
  layer.train(Eigen::MatrixXf{{3, 5}, {2, 1}});
  layer.state().mark_stale(Staleness::weights_quantized);
  CHECK_THROWS_AS(adapt(layer, target, Adaptation::prior(16)), std::domain_error);
}
