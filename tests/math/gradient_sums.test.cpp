// SPDX-License-Identifier: MIT
#include "batchnorm/math/gradient_sums.hpp"

#include <Eigen/Core>
#include <limits>
#include <stdexcept>

#include "support/catch.hpp"

using batchnorm::GradientSums;
using batchnorm::Index;
using batchnorm_test::says;

TEST_CASE("gradients of parameters are zero until they are computed") {
  const batchnorm::Gradients<float> gradients(3);
  CHECK(gradients.gamma == Eigen::Vector3f(0, 0, 0));
  CHECK(gradients.beta == Eigen::Vector3f(0, 0, 0));
}

TEST_CASE("sums of pieces add up, sums of nothing change nothing") {
  using Sums = GradientSums<double>;
  Sums a(2), b(2);
  a.count = 3;
  a.output_gradient << 1.0, 2.0;
  a.normalized << 0.5, -4.0;
  b.count = 5;
  b.output_gradient << 10.0, 20.0;
  b.normalized << 0.25, 8.0;
  Sums sum;
  CHECK(sum.channels() == 0);
  sum.merge(a);
  CHECK(sum.count == 3);
  CHECK(sum.normalized == a.normalized);
  sum.merge(b);
  CHECK(sum.count == 8);
  CHECK(sum.output_gradient == Eigen::Vector2d(11.0, 22.0));
  CHECK(sum.normalized == Eigen::Vector2d(0.75, 4.0));
  sum.merge(Sums());
  sum.merge(Sums(2));
  CHECK(sum.count == 8);
  CHECK(sum.output_gradient == Eigen::Vector2d(11.0, 22.0));
  CHECK_THROWS_MATCHES(sum.merge(Sums(3)), std::invalid_argument,
                       says("GradientSums::merge: number of channels must be the same: expected 2, "
                            "got 3"));
  CHECK(sum.count == 8);
  Sums bad = b;
  bad.count = -1;
  CHECK_THROWS_MATCHES(sum.merge(bad), std::invalid_argument,
                       says("GradientSums::merge: sizes and count of the sums: expected one size, "
                            "and zero or more, got 2 and 2, -1"));
  bad.count = (std::numeric_limits<Index>::max)() - 7;
  CHECK_THROWS_MATCHES(sum.merge(bad), std::invalid_argument,
                       says("GradientSums::merge: number of values, all together: expected at"));
  bad.normalized.resize(1);
  bad.count = 5;
  CHECK_THROWS_AS(sum.merge(bad), std::invalid_argument);
  CHECK_THROWS_AS(bad.merge(b), std::invalid_argument);
  CHECK(sum.count == 8);
  CHECK(sum.output_gradient == Eigen::Vector2d(11.0, 22.0));
  CHECK_THROWS_MATCHES(Sums(-1), std::invalid_argument,
                       says("GradientSums: number of channels: expected zero or more, got -1"));
  CHECK((GradientSums<double, 4>().channels() == 4));
}

TEST_CASE("sums begin with nothing, whether or not their channels are known") {
  CHECK(GradientSums<double>().count == 0);
  CHECK(GradientSums<double>().channels() == 0);
  const GradientSums<double, 2> fixed;
  CHECK(fixed.count == 0);
  CHECK(fixed.channels() == 2);
  CHECK(fixed.output_gradient.isZero(0));
  CHECK(fixed.normalized.isZero(0));
}
