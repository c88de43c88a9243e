// SPDX-License-Identifier: MIT
// Scalars beyond float and double: the small ones, whose parameters and statistics are float, and
// any other scalar of Eigen's, here one that differentiates.
#include <Eigen/Core>
#include <cmath>
#include <type_traits>
#include <unsupported/Eigen/AutoDiff>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchNorm;
using batchnorm::Index;
using namespace batchnorm_test;

namespace {

reference::Layer plain(const Batch& x) {
  const PerChannel mean = reference::mean(x);
  const PerChannel ones(x.channels, 1);
  return {ones, PerChannel(x.channels, 0), mean, reference::variance(x, mean), 1e-5L};
}

/// Half of the distance between neighbours of a value near `value`, of a type with that many bits.
Real half_step(Real value, int bits) {
  return std::ldexp(1.0L, std::ilogb(std::fabs(value) + 1e-4L) - bits);
}

}  // namespace

TEMPLATE_TEST_CASE("half and bfloat16 are computed in float and rounded once", "[scalars]",
                   Eigen::half, Eigen::bfloat16) {
  const int bits = std::is_same<TestType, Eigen::half>::value ? 11 : 8;
  static_assert(std::is_same<decltype(batchnorm::State<TestType>::gamma), Eigen::VectorXf>::value,
                "parameters are float");
  Random random(21);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Batch x = stored_as<TestType>(normal_batch(random, 9, 5, 7, 3, 2));
    const Batch dy = stored_as<TestType>(normal_batch(random, 9, 5, 7));
    const reference::Layer oracle = plain(x);
    BatchNorm<TestType> layer(5);
    const Stored<TestType> in(x, layout);
    const Stored<TestType> gradient(dy, layout);
    Stored<TestType> out = Stored<TestType>::like(x, layout);
    Stored<TestType> dx = out;
    const auto batch = layer.train(in.view(), out.view());
    const Batch expected = reference::forward(oracle, x);
    const Batch y = out.read();
    y.each([&](Size n, Size c, Size p) {
      const Real exact = expected.at(n, c, p);
      CHECK(std::fabs(y.at(n, c, p) - exact) <= 1.01L * half_step(exact, bits) + 1e-6L);
    });
    const auto gradients = layer.backward(batch, in.view(), gradient.view(), dx.view());
    const reference::Gradients backward = reference::backward(oracle, x, dy, true);
    const Batch got = dx.read();
    got.each([&](Size n, Size c, Size p) {
      const Real exact = backward.x.at(n, c, p);
      CHECK(std::fabs(got.at(n, c, p) - exact) <= 1.01L * half_step(exact, bits) + 1e-6L);
    });
    for (Size c = 0; c < 5; ++c) {
      const auto channel = static_cast<Index>(c);
      CHECK(std::fabs(gradients.gamma[channel] - backward.gamma[c]) < 1e-5L);
      CHECK(std::fabs(gradients.beta[channel] - backward.beta[c]) < 1e-5L);
      const Real sample_variance = oracle.sigma2[c] * 63 / 62;
      CHECK(std::fabs(layer.state().running_mean[channel] - 0.1L * oracle.mu[c]) < 1e-6L);
      CHECK(std::fabs(layer.state().running_variance[channel] - 0.9L - 0.1L * sample_variance) <
            1e-6L);
    }
  }
}

TEST_CASE("an automatic-differentiation scalar goes through and finds the same gradient",
          "[scalars]") {
  using Dual = Eigen::AutoDiffScalar<Eigen::Matrix<double, 6, 1>>;
  using Matrix = Eigen::Matrix<Dual, Eigen::Dynamic, Eigen::Dynamic>;
  const Eigen::MatrixXd x = (Eigen::MatrixXd(2, 3) << 1, 4, 2, -3, 5, 0.5).finished();
  const Eigen::MatrixXd weights = (Eigen::MatrixXd(2, 3) << 1, -2, 3, 0.5, 1, -1).finished();
  Matrix dual(2, 3);
  for (Index i = 0; i < 6; ++i) dual.data()[i] = Dual(x.data()[i], 6, static_cast<int>(i));

  BatchNorm<Dual> layer(2);
  Matrix out(2, 3);
  const auto batch = layer.train(dual, out);
  Dual loss(0.0);
  for (Index i = 0; i < 6; ++i) loss += out.data()[i] * weights.data()[i];

  BatchNorm<double> plain_layer(2);
  const auto [y, plain_batch] = plain_layer.train(x);
  const auto gradient = plain_layer.backward(plain_batch, x, weights).in_gradient;
  for (Index i = 0; i < 6; ++i) {
    CHECK_THAT(out.data()[i].value(), Catch::Matchers::WithinAbs(y.data()[i], 1e-14));
    CHECK_THAT(loss.derivatives()[i], Catch::Matchers::WithinAbs(gradient.data()[i], 1e-14));
  }
  CHECK_THAT(layer.state().running_mean[0].value(),
             Catch::Matchers::WithinAbs(plain_layer.state().running_mean[0], 1e-15));
  CHECK(batch.count == 3);

  const Matrix inferred = layer.infer(dual);
  CHECK_THAT(inferred(1, 2).value(), Catch::Matchers::WithinAbs(plain_layer.infer(x)(1, 2), 1e-14));
}

// With dy = y = xhat, gamma 1 and beta 0, the gradient has a short form, and so has its derivative:
//   dL/dx_i = epsilon (x_i - m) / s^2,   s = v + epsilon
//   its derivative by x_j = epsilon [ (delta_ij - 1/n) / s^2 - 4 (x_i - m) (x_j - m) / (n s^3) ]
TEST_CASE("back-propagation with such a scalar is differentiated in turn", "[scalars]") {
  using Dual = Eigen::AutoDiffScalar<Eigen::Matrix<double, 8, 1>>;
  using Matrix = Eigen::Matrix<Dual, Eigen::Dynamic, Eigen::Dynamic>;
  // Row 0 has mean 3 and variance 5, row 1 mean 0 and variance 4.
  const Eigen::MatrixXd x = (Eigen::MatrixXd(2, 4) << 0, 2, 4, 6, -2, 2, 2, -2).finished();
  const double mean[2] = {3.0, 0.0}, variance[2] = {5.0, 4.0}, n = 4.0;
  Matrix dual(2, 4), y(2, 4), dx(2, 4);
  for (Index i = 0; i < 8; ++i) dual.data()[i] = Dual(x.data()[i], 8, static_cast<int>(i));
  batchnorm::Options options;
  options.epsilon = 0.5;
  BatchNorm<Dual> layer(2, options);
  const auto batch = layer.train(dual, y);
  const auto gradients = layer.backward(batch, dual, y, dx);
  for (Index c = 0; c < 2; ++c) {
    const double s = variance[c] + 0.5;
    for (Index i = 0; i < 4; ++i) {
      const double centred = x(c, i) - mean[c];
      CHECK_THAT(dx(c, i).value(), Catch::Matchers::WithinAbs(0.5 * centred / (s * s), 1e-14));
      for (Index j = 0; j < 4; ++j) {
        const double other = x(c, j) - mean[c];
        const double expected = 0.5 * (((i == j ? 1.0 : 0.0) - 1 / n) / (s * s) -
                                       4 * centred * other / (n * s * s * s));
        CHECK_THAT(dx(c, i).derivatives()[2 * j + c], Catch::Matchers::WithinAbs(expected, 1e-14));
        CHECK_THAT(dx(c, i).derivatives()[2 * j + 1 - c], Catch::Matchers::WithinAbs(0.0, 1e-14));
      }
    }
    // sum y = 0 and sum y xhat = n v / s
    CHECK_THAT(gradients.beta[c].value(), Catch::Matchers::WithinAbs(0.0, 1e-14));
    CHECK_THAT(gradients.gamma[c].value(), Catch::Matchers::WithinAbs(n * variance[c] / s, 1e-14));
  }
}
