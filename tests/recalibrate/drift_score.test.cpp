// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/drift_score.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/normal_streams.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// The density of some values, each given 0 and a precision of 1 for the source, averaged over a
/// prior of precisions l, gamma distributed with a and b, and means m, normal with a variance of
/// 1 / (k l): by summing over a grid. Up to (2 pi)^(-n / 2).
long double averaged_density(const std::vector<long double>& values, long double k, long double a,
                             long double b) {
  const int steps = 500;
  const long double lowest = -10, highest = 5, widest = 12 / std::sqrt(k);
  const long double du = (highest - lowest) / steps, dt = 2 * widest / steps;
  long double sum = 0;
  for (int i = 0; i <= steps; ++i) {
    const long double u = lowest + du * i, l = std::exp(u);
    const long double log_prior = a * std::log(b) - std::lgamma(a) + a * u - b * l;
    for (int j = 0; j <= steps; ++j) {
      const long double t = -widest + dt * j, m = t / std::sqrt(l);
      long double exponent =
          log_prior + 0.5L * std::log(k / (2 * 3.14159265358979323846L)) - 0.5L * k * t * t;
      for (const long double x : values) exponent += 0.5L * u - 0.5L * l * (x - m) * (x - m);
      sum += std::exp(exponent) * du * dt;
    }
  }
  return sum;
}

DriftSample sample_of(const std::vector<long double>& values) {
  const auto n = static_cast<long double>(values.size());
  long double mean = 0, variance = 0;
  for (const long double x : values) mean += x / n;
  for (const long double x : values) variance += (x - mean) * (x - mean) / n;
  return {static_cast<double>(n), static_cast<double>(mean), static_cast<double>(variance)};
}

const std::vector<std::vector<long double>> some_values = {
    {0.3L}, {-2.5L}, {0.1L, -0.4L, 1.2L}, {2, 2.5L, 3, 2.2L}, {0.01L, 0.02L, 0}};

}  // namespace

TEST_CASE("the divergence of normal distributions, worked out by hand") {
  CHECK(kl_divergence({8, 0, 1}) == 0);
  CHECK(kl_divergence({8, 3, 1}) == 4.5);
  CHECK(std::fabs(kl_divergence({8, 0, 4}) - (3 - std::log(4.0)) / 2) < 1e-15);
  CHECK(std::fabs(kl_divergence({8, -1, 0.25}) - (1 - 0.75 + std::log(4.0)) / 2) < 1e-15);
  CHECK(kl_divergence({1, 0.1, 0}) == std::numeric_limits<double>::infinity());
}

TEST_CASE("ln gamma") {
  for (const double x : {0.25, 0.5, 1.0, 2.0, 3.5, 15.9, 16.0, 17.0, 100.0, 4321.5, 1e6}) {
    const long double expected = std::lgamma(static_cast<long double>(x));
    INFO(x);
    CHECK(std::fabs(static_cast<long double>(detail::log_gamma(x)) - expected) <=
          3e-14L + 4e-16L * std::fabs(expected));
  }
}

TEST_CASE("e-values are ratios of densities, the prior integrated out") {
  for (const std::vector<long double>& values : some_values) {
    long double under_source = 1;
    for (const long double x : values) under_source *= std::exp(-0.5L * x * x);
    const DriftSample sample = sample_of(values);
    INFO("mean " << sample.shift << " of " << sample.values);
    const long double expected = std::log(averaged_density(values, 0.1L, 2, 2) / under_source);
    CHECK(std::fabs(log_e_value(sample) - static_cast<double>(expected)) < 1e-6);
    const long double other = std::log(averaged_density(values, 3, 1.5L, 1.5L) / under_source);
    CHECK(std::fabs(log_e_value(sample, INFINITY, 3, 1.5) - static_cast<double>(other)) < 1e-6);
  }
}

TEST_CASE("e-values for a source that comes from some values itself") {
  for (const std::vector<long double>& values : some_values) {
    const DriftSample sample = sample_of(values);
    const long double ratio =
        averaged_density(values, 0.1L, 2, 2) / averaged_density(values, 12, 5.5L, 5.5L);
    CHECK(std::fabs(log_e_value(sample, 12) - static_cast<double>(std::log(ratio))) < 1e-6);
    CHECK(std::fabs(log_e_value(sample, 1e9) - log_e_value(sample)) < 1e-5);
    CHECK(std::fabs(log_e_value(sample, 9e9) - log_e_value(sample, 2e10)) < 1e-4);
  }
}

TEST_CASE("no values are no evidence") {
  CHECK(log_e_value({0, 0, 0}) == 0);
  CHECK(log_e_value({0, 0, 0}, 100) == 0);
}

TEST_CASE("95 % of samples without drift are below what the comment says") {
  struct Point {
    Eigen::Index n;
    double expected;
  };
  NormalValues normal(1);
  for (const Point& point : {Point{2, 5.9}, {4, 4.0}, {8, 3.4}, {16, 3.2}, {64, 3.0}}) {
    const auto n = static_cast<double>(point.n);
    std::vector<double> scores;
    const Moments<double> samples = normal_moments(normal, 20000, point.n);
    for (Index i = 0; i < samples.channels(); ++i) {
      scores.push_back(n * kl_divergence({n, samples.mean[i], samples.sum_of_squares[i] / n}));
    }
    const auto place = scores.begin() + 19000;
    std::nth_element(scores.begin(), place, scores.end());
    INFO(point.n << ": " << *place);
    CHECK(std::fabs(*place - point.expected) < 0.15);
  }
}

TEST_CASE("a sample begins with nothing") {
  const DriftSample nothing;
  CHECK(nothing.values == 0.0);
  CHECK(nothing.shift == 0.0);
  CHECK(nothing.variance_ratio == 0.0);
}
