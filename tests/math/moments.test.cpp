// SPDX-License-Identifier: MIT
#include "batchnorm/math/moments.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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

TEST_CASE("moments that nothing leaves behind do not merge and nothing is changed", "[moments]") {
  constexpr Index most = (std::numeric_limits<Index>::max)();
  const Moments<double> good = moments_of(Eigen::MatrixXd::Identity(2, 2));
  Moments<double> negative = good, shorter = good, below = good, many = good, longer = good;
  negative.count = -2;
  shorter.sum_of_squares.resize(1);
  longer.sum_of_squares = Eigen::Vector3d::Zero();
  below.sum_of_squares[1] = -1e-300;
  many.count = most - 1;
  const auto refused = [&](const Moments<double>& bad, const char* text) {
    for (const bool first : {false, true}) {
      Moments<double> to = first ? bad : good;
      CHECK_THROWS_MATCHES(to.merge(first ? good : bad), std::exception,
                           says(std::string("Moments::merge: ") + text));
      CHECK(to.count == (first ? bad : good).count);
      CHECK(to.mean == good.mean);
      CHECK(to.sum_of_squares == (first ? bad : good).sum_of_squares);
    }
  };
  refused(negative, "count of the moments: expected zero or more, got -2");
  refused(shorter,
          "means and sums of squares: expected as many of one as of the other, got 2 and 1");
  refused(longer,
          "means and sums of squares: expected as many of one as of the other, got 2 and 3");
  refused(below, "sum of squares of channel 1: expected zero or larger, got a negative number");
  const std::string text = "number of values, all together: expected at most ";
  refused(many, (text + std::to_string(most) + ", got ").c_str());
  // NaN and infinity are what somebody has asked to see.
  Moments<double> nan = good;
  nan.mean[0] = nan.sum_of_squares[1] = std::numeric_limits<double>::quiet_NaN();
  nan.merge(good);
  CHECK(nan.count == 4);
  CHECK(std::isnan(nan.mean[0]));
  CHECK(std::isnan(nan.sum_of_squares[1]));
}

TEST_CASE("a number of channels below zero, or that the type does not fix, is refused") {
  CHECK_THROWS_MATCHES(Moments<double>(-1), std::invalid_argument,
                       says("Moments: number of channels: expected zero or more, got -1"));
  CHECK_THROWS_MATCHES((Moments<double, 3>(2)), std::invalid_argument,
                       says("Moments: number of channels is fixed by the type: expected 3, got 2"));
  CHECK(Moments<double>(0).channels() == 0);
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

namespace {

/// Weighted moments of one channel, from their definition.
Moments<double> weighted_moments(const std::vector<double>& values,
                                 const std::vector<double>& weights) {
  Real total = 0, squared = 0, mean = 0, squares = 0;
  for (Size i = 0; i < values.size(); ++i) {
    total += weights[i];
    squared += static_cast<Real>(weights[i]) * weights[i];
    mean += static_cast<Real>(weights[i]) * values[i];
  }
  mean /= total;
  for (Size i = 0; i < values.size(); ++i) squares += weights[i] * std::pow(values[i] - mean, 2.0L);
  Moments<double> moments(1);
  moments.count = static_cast<Index>(values.size());
  moments.mean[0] = static_cast<double>(mean);
  moments.sum_of_squares[0] = static_cast<double>(squares);
  moments.set_weight(static_cast<double>(total), static_cast<double>(squared));
  return moments;
}

bool near(double a, double b) {
  return std::abs(a - b) <= 1e-14 * std::abs(b);
}

}  // namespace

TEST_CASE("weighted moments merge into those of the union", "[moments]") {
  const std::vector<double> values{3, -1, 4, 1, -5, 9, 2}, weights{2, 0.5, 1, 1, 7, 0.25, 3};
  const Moments<double> whole = weighted_moments(values, weights);
  CHECK(whole.weight() == 14.75);
  CHECK(whole.squared_weight() == 64.3125);
  const auto divide = [](const std::vector<double>& all, Size from, Size to) {
    return std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(from),
                               all.begin() + static_cast<std::ptrdiff_t>(to));
  };
  for (Size cut = 1; cut < values.size(); ++cut) {
    INFO(cut);
    const auto a = weighted_moments(divide(values, 0, cut), divide(weights, 0, cut));
    const auto b = weighted_moments(divide(values, cut, 7), divide(weights, cut, 7));
    Moments<double> ab = a, ba = b;
    ab.merge(b);
    ba.merge(a);
    CHECK(ab.count == 7);
    CHECK(ab.weight() == whole.weight());
    CHECK(ab.squared_weight() == whole.squared_weight());
    CHECK(near(ab.mean[0], whole.mean[0]));
    CHECK(near(ab.population_variance()[0], whole.population_variance()[0]));
    CHECK(ab.mean == ba.mean);
    CHECK(ab.sum_of_squares == ba.sum_of_squares);
  }
  CHECK(near(whole.population_variance()[0], whole.sum_of_squares[0] / 14.75));
  CHECK(near(whole.sample_variance()[0], whole.sum_of_squares[0] / 13.75));
}

TEST_CASE("weights of 1 are no weights, to the bit", "[moments]") {
  const Moments<double> plain = moments_of((Eigen::RowVectorXd(3) << 0.1, 0.7, 1.3).finished());
  CHECK(plain.weight() == 3.0);
  CHECK(plain.squared_weight() == 3.0);
  Moments<double> same = plain;
  same.set_weight(3, 3);
  Moments<double> other = moments_of((Eigen::RowVectorXd(2) << 1.1, -0.3).finished());
  Moments<double> weighted = other;
  weighted.set_weight(2.5, 3.25);  // 1.5 and 1
  Moments<double> mixed = plain;
  mixed.merge(weighted);
  CHECK(mixed.weight() == 5.5);
  CHECK(mixed.squared_weight() == 6.25);
  CHECK(mixed.divisor(1) == 4.5);
  Moments<double> merged = plain;
  merged.merge(other);
  same.merge(other);
  CHECK(same.weight() == 5.0);
  CHECK(same.mean == merged.mean);
  CHECK(same.sum_of_squares == merged.sum_of_squares);
}

TEST_CASE("one of the two sums is enough to tell weights from none", "[moments]") {
  Moments<double> moments(1);
  moments.count = 2;
  moments.sum_of_squares[0] = 3;
  moments.set_weight(1.75, 2.0);  // the squares of other weights may sum to 2
  CHECK(moments.weight() == 1.75);
  moments.set_weight(2.0, 2.5);  // 0.5 and 1.5
  CHECK(moments.squared_weight() == 2.5);
  // A sum of frequencies between 1 and 2 leaves a divisor, one of 1 leaves none.
  moments.set_weight(1.5, 1.25);
  CHECK(moments.has_sample_variance());
  CHECK(moments.sample_variance()[0] == 6.0);
  moments.set_weight(1.0, 0.5);
  CHECK_FALSE(moments.has_sample_variance());
}

TEST_CASE("sums that no weights have are refused", "[moments]") {
  Moments<double> moments(1);
  moments.count = 3;
  CHECK_THROWS_MATCHES(moments.set_weight(0, 0), std::invalid_argument,
                       says("Moments::set_weight: sums of weights and of their squares: expected "
                            "those of 3 positive weights, got 0 and 0"));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<double, double>> wrong = {{-1, 1},  {nan, 1}, {1, nan}, {1e200, 1},
                                                        {3, 2.9}, {3, 9.1}, {3, -1}};
  for (const auto& [weight, squared] : wrong) {
    INFO(weight << " and " << squared);
    CHECK_THROWS_AS(moments.set_weight(weight, squared), std::invalid_argument);
  }
  CHECK(moments.weight() == 3.0);
  CHECK_NOTHROW(moments.set_weight(3, 9));       // one of 3, two of nearly 0
  CHECK_NOTHROW(moments.set_weight(0.3, 0.03));  // all alike
  moments.count = 0;
  CHECK_THROWS_AS(moments.set_weight(1, 1), std::invalid_argument);
  CHECK_NOTHROW(moments.set_weight(0, 0));
}
