// SPDX-License-Identifier: MIT
#include "batchnorm/math/backward.hpp"

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchNorm;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
using namespace batchnorm_test;

namespace {

/// A layer and the oracle's view of it.
template <class T>
struct Case {
  BatchNorm<T> layer;
  reference::Layer oracle;
};

template <class T>
Case<T> make_case(Random& random, const Batch& x, double epsilon) {
  const PerChannel gamma = stored_as<T>(uniform_channels(random, x.channels, -2, 2));
  const PerChannel beta = stored_as<T>(uniform_channels(random, x.channels, -2, 2));
  Options options;
  options.epsilon = epsilon;
  BatchNorm<T> layer(static_cast<Index>(x.channels), options);
  for (Size c = 0; c < x.channels; ++c) {
    layer.state().gamma[static_cast<Index>(c)] = static_cast<T>(gamma[c]);
    layer.state().beta[static_cast<Index>(c)] = static_cast<T>(beta[c]);
  }
  const PerChannel mean = reference::mean(x);
  return {layer, {gamma, beta, mean, reference::variance(x, mean), epsilon}};
}

/// Within `share` of the largest number of the channel.
void check_close(const Batch& got, const Batch& expected, Real share) {
  for (Size c = 0; c < expected.channels; ++c) {
    Real largest = 0;
    Real worst = 0;
    for (Size n = 0; n < expected.samples; ++n) {
      for (Size p = 0; p < expected.positions; ++p) {
        largest = std::max(largest, std::fabs(expected.at(n, c, p)));
        worst = std::max(worst, std::fabs(got.at(n, c, p) - expected.at(n, c, p)));
      }
    }
    CHECK(worst <= share * largest);
  }
}

template <class Vector>
void check_channels(const Vector& got, const PerChannel& expected, Real share, Real scale) {
  for (Size c = 0; c < expected.size(); ++c) {
    CHECK(std::fabs(static_cast<Real>(got[static_cast<Index>(c)]) - expected[c]) <= share * scale);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("the gradients are those of the oracle", "[backward]", float, double,
                   long double) {
  const Real share = 64 * static_cast<Real>(std::numeric_limits<TestType>::epsilon());
  Random random(3);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Batch x = stored_as<TestType>(normal_batch(random, 6, 5, 7, 2, 3));
    const Batch dy = stored_as<TestType>(normal_batch(random, 6, 5, 7));
    Case<TestType> with = make_case<TestType>(random, x, 1e-3);
    const Stored<TestType> stored_x(x, layout);
    const Stored<TestType> stored_dy(dy, layout);
    Stored<TestType> y = Stored<TestType>::like(x, layout);
    Stored<TestType> dx = Stored<TestType>::like(x, layout);
    const auto batch = with.layer.normalize(stored_x.view(), y.view());
    const auto gradients = with.layer.backward(batch, stored_x.view(), stored_dy.view(), dx.view());
    const reference::Gradients expected = reference::backward(with.oracle, x, dy, true);
    check_close(y.read(), reference::forward(with.oracle, x), share);
    check_close(dx.read(), expected.x, share);
    check_channels(gradients.gamma, expected.gamma, share, 42);
    check_channels(gradients.beta, expected.beta, share, 42);
    CHECK(dx.gaps_are_untouched());
  }
}

TEST_CASE("frozen statistics are constants in backward", "[backward]") {
  Random random(4);
  const Batch x = stored_as<double>(normal_batch(random, 4, 3, 2, -1, 2));
  const Batch dy = stored_as<double>(normal_batch(random, 4, 3, 2));
  Case<double> with = make_case<double>(random, x, 1e-5);
  with.oracle.mu = {0.5, -0.25, 3};
  with.oracle.sigma2 = {4, 0.5, 1};
  State<double> state = with.layer.state();
  state.running_mean << 0.5, -0.25, 3;
  state.running_variance << 4, 0.5, 1;
  const BatchNorm<double> layer(state, with.layer.options());
  const Stored<double> stored_x(x, Layout::channels_last);
  const Stored<double> stored_dy(dy, Layout::channels_first);
  Stored<double> dx = Stored<double>::like(x, Layout::padded);
  const auto gradients = layer.backward_frozen(stored_x.view(), stored_dy.view(), dx.view());
  const reference::Gradients expected = reference::backward(with.oracle, x, dy, false);
  check_close(dx.read(), expected.x, 1e-14L);
  check_channels(gradients.gamma, expected.gamma, 1e-14L, 20);
  check_channels(gradients.beta, expected.beta, 1e-14L, 20);
}

TEST_CASE("the input gradient may overwrite either input", "[backward]") {
  Eigen::MatrixXd x(2, 5);
  x << 1, 2, 4, 8, 16, -3, 0, 3, 1, 5;
  Eigen::MatrixXd dy(2, 5);
  dy << 1, 0, -1, 2, 0.5, 3, 1, 4, 1, 5;
  const BatchNorm<double> layer(2);
  Eigen::MatrixXd y(2, 5);
  const auto batch = layer.normalize(x, y);
  const auto [expected, gamma, beta] = layer.backward(batch, x, dy);

  Eigen::MatrixXd over_dy = dy;
  const auto gradients = layer.backward(batch, x, over_dy, over_dy);
  CHECK(over_dy == expected);
  CHECK(gradients.gamma == gamma);
  CHECK(gradients.beta == beta);

  Eigen::MatrixXd over_x = x;
  layer.backward(batch, over_x, dy, over_x);
  CHECK(over_x == expected);
}

TEST_CASE("parameters that are left out have no gradient", "[backward]") {
  Options options;
  options.scale = false;
  options.shift = false;
  BatchNorm<double> layer(1, options);
  layer.state().gamma[0] = 100.0;
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::LinSpaced(5, 0, 4);
  const auto [y, batch] = layer.train(x);
  CHECK_THAT(y[4], Catch::Matchers::WithinRel(1.4142, 1e-4));
  const auto [dx, gamma, beta] = layer.backward(batch, x, x);
  CHECK(gamma[0] == 0.0);
  CHECK(beta[0] == 0.0);
}

TEST_CASE("what the statistics absorb has no input gradient", "[backward]") {
  // L = sum(y) and L = sum(y^2) do not depend on x: mean and variance of y are fixed.
  Random random(5);
  const Batch x = stored_as<double>(normal_batch(random, 50, 2, 1, 10, 3));
  const Stored<double> stored(x, Layout::channels_first);
  Options options;
  options.epsilon = 0.0;
  const BatchNorm<double> layer(2, options);
  Stored<double> y = Stored<double>::like(x, Layout::channels_first);
  const auto batch = layer.normalize(stored.view(), y.view());
  Stored<double> dx = Stored<double>::like(x, Layout::channels_first);
  layer.backward(batch, stored.view(), y.view(), dx.view());
  for (const Real value : dx.read().values) CHECK(std::fabs(value) < 1e-14L);
}

namespace {

/// f'(z) dy of one value, by both ways in which z is found: in the type of forward, and in a wider
/// one. z is 2 (x - 3) + 0.5 + residual.
float split_gradient(float x, float dy, float residual, float slope, bool plain) {
  namespace detail = batchnorm::detail;
  const float values[] = {x, dy, residual}, k[] = {2.0f, 0.5f};
  const double wide_values[] = {x, dy, residual}, wide_k[] = {2.0, 0.5};
  detail::FormulaOptions<float> options{slope, 1 / slope};
  detail::FormulaOptions<double> wide_options{slope, 1.0 / slope};
  options.rectified = wide_options.rectified = true;
  float g = -7, centred = -7;
  double wide_g = -7, wide_centred = -7;
  using Source = detail::FromInput<float>;
  if (plain) {
    Source::split<true>(g, centred, values, 3.0f, k, options);
    Source::split<true>(wide_g, wide_centred, wide_values, 3.0, wide_k, wide_options);
  } else {
    Source::split<false>(g, centred, values, 3.0f, k, options);
    Source::split<false>(wide_g, wide_centred, wide_values, 3.0, wide_k, wide_options);
  }
  CHECK(wide_g == static_cast<double>(g));
  CHECK(centred == x - 3);
  CHECK(wide_centred == static_cast<double>(x) - 3);
  return g;
}

}  // namespace

TEST_CASE("the gradient below zero is slope dy, and 0 for a slope of 0, be dy infinite",
          "[backward]") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float dy : {4.0f, -4.0f, infinity, -infinity}) {
    INFO(dy);
    for (const float slope : {0.0f, 0.25f, 4.0f}) {
      INFO(slope);
      const float below = slope > 0 ? slope * dy : 0.0f;
      CHECK(split_gradient(4, dy, 0, slope, false) == dy);       // z = 2.5
      CHECK(split_gradient(4, dy, -2, slope, false) == dy);      // 0.5
      CHECK(split_gradient(2, dy, 0, slope, false) == below);    // -1.5
      CHECK(split_gradient(4, dy, -3, slope, false) == below);   // -0.5
      CHECK(split_gradient(2, dy, 2, slope, false) == dy);       // 0.5
      CHECK(split_gradient(2, dy, 1.5, slope, false) == below);  // 0
      CHECK(split_gradient(2, dy, 0, slope, true) == dy);        // without an epilogue
    }
  }
}
