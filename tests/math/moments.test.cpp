// SPDX-License-Identifier: MIT
#include "batchnorm/math/moments.hpp"

#include <cmath>
#include <stdexcept>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using namespace batchnorm_test;
using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::moments_of;

namespace {

Eigen::Map<const Eigen::VectorXd> as_vector(const std::vector<double>& values) {
  return {values.data(), static_cast<Index>(values.size())};
}

template <class Vector>
std::vector<double> doubles(const Vector& values) {
  std::vector<double> all;
  for (Index i = 0; i < values.size(); ++i) all.push_back(static_cast<double>(values[i]));
  return all;
}

}  // namespace

TEST_CASE("squares that float holds with few digits or none are summed in double", "[moments]") {
  for (const float deviation : {1e-19f, 1e-21f, 3e-23f, 1e-25f}) {
    INFO(deviation);
    Eigen::MatrixXf x(9, 64);
    for (Index i = 0; i < x.cols(); ++i) x.col(i).setConstant(i % 2 == 0 ? deviation : -deviation);
    const double square = static_cast<double>(deviation) * static_cast<double>(deviation);
    const auto variance = moments_of(x).population_variance();
    for (Index c = 0; c < x.rows(); ++c) {
      CHECK(std::abs(variance[c] - square) <= 1e-12 * square);
    }
  }
}

TEMPLATE_TEST_CASE("the moments of exact data are exact", "[moments]", float, double, long double) {
  Random random(7);
  const ExactBatch exact = exact_batch(random, 32, 5, 3);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<TestType> stored(exact.values, layout);
    const auto moments = moments_of(stored.view());
    REQUIRE(moments.count == 96);
    REQUIRE(moments.channels() == 5);
    for (Index c = 0; c < 5; ++c) {
      const auto channel = static_cast<Size>(c);
      CHECK(static_cast<Real>(moments.mean[c]) == exact.mean[channel]);
      CHECK(static_cast<Real>(moments.population_variance()[c]) == exact.variance[channel]);
      CHECK(static_cast<Real>(moments.sum_of_squares[c]) == 96 * exact.variance[channel]);
    }
  }
}

TEST_CASE("half and bfloat16 are summed in double", "[moments]") {
  // 2048 halves of 1 and 2048 of 3: a half counts to 2048 and no further.
  Eigen::Matrix<Eigen::half, 1, Eigen::Dynamic> halves(1, 4096);
  for (Index i = 0; i < 4096; ++i) halves[i] = Eigen::half(i % 2 == 0 ? 1.0f : 3.0f);
  const Moments<double> of_halves = moments_of(halves);
  CHECK(of_halves.mean[0] == 2.0);
  CHECK(of_halves.sum_of_squares[0] == 4096.0);
  const Eigen::Matrix<Eigen::bfloat16, 1, Eigen::Dynamic> bfloats =
      halves.cast<float>().cast<Eigen::bfloat16>();
  CHECK(moments_of(bfloats).mean[0] == 2.0);
  CHECK(moments_of(bfloats).sum_of_squares[0] == 4096.0);
}

TEST_CASE("a constant channel has no variance at all", "[moments]") {
  // 0.1 is not a binary fraction and 1e200 has no square: neither may leave a trace.
  for (const double value : {0.1, -1e200, 1e-310, 0.0}) {
    for (const Index count : {1, 2, 7, 5000}) {
      const Eigen::MatrixXd constant = Eigen::MatrixXd::Constant(6, count, value);
      const Moments<double> moments = moments_of(constant);
      CHECK((moments.sum_of_squares.array() == 0.0).all());
      CHECK((moments.mean.array() == value).all());
    }
  }
}

TEST_CASE("small variations on a large number survive", "[moments]") {
  const Moments<double> moments =
      moments_of((Eigen::RowVectorXd(4) << 1e8 + 4, 1e8 + 7, 1e8 + 13, 1e8 + 16).finished());
  CHECK(moments.mean[0] == 1e8 + 10);
  CHECK(moments.sample_variance()[0] == 30.0);
  CHECK(moments.population_variance()[0] == 22.5);
}

TEST_CASE("merging is the moments of the union", "[moments]") {
  Moments<double> a = moments_of((Eigen::MatrixXd(2, 1) << 1, -4).finished());
  const Moments<double> b = moments_of((Eigen::MatrixXd(2, 3) << 4, 5, 6, 0, 0, 0).finished());
  a.merge(b);
  CHECK(a.count == 4);
  CHECK(doubles(a.mean) == std::vector<double>{4, -1});
  CHECK(doubles(a.sum_of_squares) == std::vector<double>{14, 12});
}

TEST_CASE("merging with nothing is exact", "[moments]") {
  const Moments<double> some =
      moments_of((Eigen::MatrixXd(2, 3) << 0.1, 0.2, 0.7, 1e300, 1e300, 1e300).finished());
  for (const Moments<double>& nothing : {Moments<double>(2), Moments<double>()}) {
    Moments<double> left = nothing;
    left.merge(some);
    Moments<double> right = some;
    right.merge(nothing);
    for (const Moments<double>& merged : {left, right}) {
      CHECK(merged.count == 3);
      CHECK(merged.mean == some.mean);
      CHECK(merged.sum_of_squares == some.sum_of_squares);
    }
  }
}

TEST_CASE("moments of other channels do not merge and nothing is changed", "[moments]") {
  Moments<double> two = moments_of(Eigen::MatrixXd::Identity(2, 2));
  const Moments<double> before = two;
  const Moments<double> three = moments_of(Eigen::MatrixXd::Identity(3, 3));
  CHECK_THROWS_MATCHES(
      two.merge(three), std::invalid_argument,
      says("Moments::merge: number of channels must be the same: expected 2, got 3"));
  CHECK_THROWS_AS(two.merge(Moments<double>(3)), std::invalid_argument);
  CHECK(two.count == before.count);
  CHECK(two.mean == before.mean);
  CHECK(two.sum_of_squares == before.sum_of_squares);
}

TEST_CASE("a variance needs values", "[moments]") {
  Moments<double> moments(1);
  CHECK_THROWS_MATCHES(moments.population_variance(), std::domain_error,
                       says("Moments::population_variance: number of values per channel: expected "
                            "at least 1, got 0"));
  moments.count = 1;
  CHECK(moments.population_variance()[0] == 0.0);
  CHECK_THROWS_MATCHES(moments.sample_variance(), std::domain_error,
                       says("expected at least 2, got 1"));
}

TEST_CASE("an empty minibatch has the moments of nothing", "[moments]") {
  const Moments<double> moments = moments_of(Eigen::MatrixXf(3, 0));
  CHECK(moments.count == 0);
  CHECK(moments.channels() == 3);
  CHECK((moments.mean.array() == 0.0).all());
}

TEST_CASE("the number of channels may be fixed", "[moments]") {
  Moments<double, 3> moments;
  CHECK(moments.channels() == 3);
  const std::vector<double> values{1, 2, 3};
  moments.count = 1;
  moments.mean = as_vector(values);
  moments.merge(moments);
  CHECK(moments.count == 2);
  CHECK(doubles(moments.mean) == values);
}
