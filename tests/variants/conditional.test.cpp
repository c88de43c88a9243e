// SPDX-License-Identifier: MIT
#include "batchnorm/variants/conditional.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"
#include "support/reference_derivatives.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// FiLM behind a normalisation, literally: y = gamma_n (x - mean) / sqrt(variance + eps) + beta_n.
struct Literal {
  bool per_example, frozen;
  std::vector<Real> gamma, beta;  // of example * channels + channel; one example for all
  PerChannel mu, sigma2;
  Real epsilon = 0.02L;

  Batch forward(const Batch& x) const {
    const PerChannel mean = frozen ? mu : reference::mean(x);
    const PerChannel variance = frozen ? sigma2 : reference::variance(x, mean);
    Batch y = x;
    x.each([&](Size n, Size c, Size p) {
      const Size i = (per_example ? n * x.channels : 0) + c;
      y.at(n, c, p) =
          gamma[i] * (x.at(n, c, p) - mean[c]) / std::sqrt(variance[c] + epsilon) + beta[i];
    });
    return y;
  }
};

struct Case {
  Literal literal;
  Batch x, dy;

  Case(std::uint64_t seed, bool per_example, bool frozen, Size positions = 3)
      : literal{per_example, frozen, {}, {}, {}, {}}, x{5, 4, positions}, dy(x) {
    Random random(seed);
    x = stored_as<float>(normal_batch(random, 5, 4, positions, -1, 2));
    dy = stored_as<float>(normal_batch(random, 5, 4, positions, 0.3L));
    const Size count = per_example ? 20 : 4;
    literal.gamma = stored_as<float>(uniform_channels(random, count, -2, 2));
    literal.beta = stored_as<float>(uniform_channels(random, count, -1, 1));
    literal.mu = stored_as<float>(uniform_channels(random, 4, -1, 1));
    literal.sigma2 = stored_as<float>(uniform_channels(random, 4, 1, 5));
    if (per_example) literal.gamma[6] = 0;  // example 1 has a gradient through the others
  }

  template <class T>
  BatchNorm<T> layer() const {
    const PerChannel unused(4, 77);
    BatchNorm<T> layer =
        make_layer<T>({unused, unused, literal.mu, literal.sigma2, literal.epsilon}, {});
    layer.state().batches_seen = 1;
    return layer;
  }

  template <class T>
  Modulation<T> modulation() const {
    const Index columns = literal.per_example ? 5 : 1;
    Modulation<T> given{typename Modulation<T>::Matrix(4, columns),
                        typename Modulation<T>::Matrix(4, columns)};
    for (Index i = 0; i < 4 * columns; ++i) {
      given.gamma.data()[i] = static_cast<T>(literal.gamma[static_cast<Size>(i)]);
      given.beta.data()[i] = static_cast<T>(literal.beta[static_cast<Size>(i)]);
    }
    return given;
  }
};

template <class T>
void check_case(Case& given, Layout layout, Real share) {
  INFO(name_of(layout));
  const auto loss = [&] { return reference::dot(given.literal.forward(given.x), given.dy); };
  const auto by_x = reference::central_differences(given.x.values, loss);
  const auto by_gamma = reference::central_differences(given.literal.gamma, loss);
  const auto by_beta = reference::central_differences(given.literal.beta, loss);
  BatchNorm<T> layer = given.layer<T>();
  const Modulation<T> modulation = given.modulation<T>();
  const Stored<T> x(given.x, layout), dy(given.dy, Layout::channels_first);
  Stored<T> y = Stored<T>::like(given.x, layout), dx = y;
  Modulation<T> gradients;
  if (given.literal.frozen) {
    infer_conditional(layer, modulation, x.view(), y.view());
    gradients = backward_conditional_frozen(layer, modulation, x.view(), dy.view(), dx.view());
  } else {
    const auto batch = train_conditional(layer, modulation, x.view(), y.view());
    gradients = backward_conditional(layer, batch, modulation, x.view(), dy.view(), dx.view());
    CHECK(layer.state().batches_seen == 2);
  }
  CHECK(reference::worst_share(y.read().values, given.literal.forward(given.x).values) < share);
  CHECK(reference::worst_share(dx.read().values, by_x) < share);
  CHECK(reference::worst_share(to_reals(gradients.gamma), by_gamma) < share);
  CHECK(reference::worst_share(to_reals(gradients.beta), by_beta) < share);
  CHECK(dx.gaps_are_untouched());
}

}  // namespace

TEST_CASE(
    "gamma and beta per call and per example: forward by its formula, backward by differences") {
  std::uint64_t seed = 1;
  for (const bool per_example : {false, true}) {
    for (const bool frozen : {false, true}) {
      for (const Size positions : {Size{1}, Size{3}}) {
        INFO(per_example << frozen << positions);
        Case given(seed++, per_example, frozen, positions);
        for (const Layout layout : all_layouts) {
          check_case<double>(given, layout, 1e-11L);
          check_case<float>(given, layout, 5e-6L);
        }
      }
    }
  }
}

TEST_CASE("given the layer's own gamma and beta, all has the bits of the layer") {
  const Case given(9, false, false);
  BatchNorm<float> layer = given.layer<float>();
  layer.state().gamma = given.modulation<float>().gamma;
  layer.state().beta = given.modulation<float>().beta;
  BatchNorm<float> plain = layer;
  const Stored<float> x(given.x, Layout::channels_last), dy(given.dy, Layout::channels_last);
  Stored<float> y = Stored<float>::like(given.x, Layout::channels_last), plain_y = y;
  Stored<float> dx = y, plain_dx = y;
  const auto batch = train_conditional(layer, given.modulation<float>(), x.view(), y.view());
  const auto gradients =
      backward_conditional(layer, batch, given.modulation<float>(), x.view(), dy.view(), dx.view());
  const auto plain_batch = plain.train(x.view(), plain_y.view());
  const auto plain_gradients = plain.backward(plain_batch, x.view(), dy.view(), plain_dx.view());
  CHECK(y.same_bits(plain_y));
  CHECK(dx.same_bits(plain_dx));
  CHECK(gradients.gamma == plain_gradients.gamma);
  CHECK(gradients.beta == plain_gradients.beta);
  CHECK(layer.state().running_mean == plain.state().running_mean);
}

TEST_CASE("equal gamma and beta per example are one pair for all") {
  const Case given(10, false, false);
  const Modulation<float> one = given.modulation<float>();
  const Modulation<float> each{one.gamma.replicate(1, 5), one.beta.replicate(1, 5)};
  BatchNorm<float> layer = given.layer<float>();
  const Stored<float> x(given.x, Layout::channels_first), dy(given.dy, Layout::channels_first);
  Stored<float> y = Stored<float>::like(given.x, Layout::channels_first), other = y, dx = y;
  Stored<float> other_dx = y;
  const auto batch = train_conditional(layer, one, x.view(), y.view());
  train_conditional(layer, each, x.view(), other.view());
  CHECK(y.same_bits(other));
  const auto gradients = backward_conditional(layer, batch, one, x.view(), dy.view(), dx.view());
  const auto others =
      backward_conditional(layer, batch, each, x.view(), dy.view(), other_dx.view());
  CHECK(reference::worst_share(other_dx.read().values, dx.read().values) < 1e-6L);
  CHECK(others.gamma.rowwise().sum().isApprox(gradients.gamma, 1e-5f));
  CHECK(others.beta.rowwise().sum().isApprox(gradients.beta, 1e-5f));
}

TEST_CASE("per call everything of a layer holds: masks, residuals and epilogues") {
  Options options;
  options.epilogue = Epilogue::leaky_relu(0.5);
  BatchNorm<double> layer(1, options), plain = layer;
  plain.state().gamma[0] = 2;
  plain.state().beta[0] = -1;
  const Modulation<double> given{Eigen::MatrixXd::Constant(1, 1, 2),
                                 Eigen::MatrixXd::Constant(1, 1, -1)};
  Eigen::RowVectorXd x(4), r(4), dy(4), y(4), plain_y(4), dx(4), dr(4), plain_dx(4), plain_dr(4);
  x << 1, 5, 2, 9;
  r << 0.5, -3, 1, 2;
  dy << 1, 2, -1, 0.5;
  const Eigen::Array<bool, 4, 1> mask(true, true, false, true);
  const auto batch = train_conditional(layer, given, masked(with_residual(x, r), mask), y);
  const auto plain_batch = plain.train(masked(with_residual(x, r), mask), plain_y);
  CHECK(y == plain_y);
  const auto gradients = backward_conditional(
      layer, batch, given, masked(with_residual(x, r), mask), dy, with_residual(dx, dr));
  const auto expected = plain.backward(plain_batch, masked(with_residual(x, r), mask), dy,
                                       with_residual(plain_dx, plain_dr));
  CHECK(dx == plain_dx);
  CHECK(dr == plain_dr);
  CHECK(gradients.gamma(0, 0) == expected.gamma[0]);
  // Per example: residual and epilogue forward.
  const Modulation<double> each{given.gamma.replicate(1, 4), given.beta.replicate(1, 4)};
  Eigen::RowVectorXd other(4);
  BatchNorm<double> unmasked(1, options);
  train_conditional(unmasked, each, with_residual(x, r), other);
  train_conditional(unmasked, given, with_residual(x, r), y);
  CHECK(other == y);
  const Eigen::Array<bool, 4, 1> none(false, false, false, false);
  const auto nothing = train_conditional(layer, given, masked(x, none), y);
  CHECK(nothing.count == 0);
  CHECK(y.isZero(0));
  dx.setConstant(-5);
  CHECK(backward_conditional(layer, nothing, given, masked(x, none), dy, dx).gamma.isZero(0));
  CHECK(dx.isZero(0));
}

TEST_CASE("conditional calls refuse what they cannot do, and change nothing") {
  BatchNorm<double> layer(2);
  Eigen::MatrixXd x(2, 3), y(2, 3);
  x << 1, 2, 4, 3, 5, 9;
  const auto of = [](Index rows, Index columns, double value = 1) {
    return Modulation<double>{Eigen::MatrixXd::Constant(rows, columns, value),
                              Eigen::MatrixXd::Zero(rows, columns)};
  };
  const auto refuse = [&](const Modulation<double>& given, const auto& in, const char* text) {
    y.setConstant(-5);
    CHECK_THROWS_WITH(train_conditional(layer, given, in, y), Contains(text));
    CHECK((y.array() == -5).all());
    CHECK(layer.state().batches_seen == 0);
  };
  refuse(of(2, 2), x, "expected 2 x 1 or 2 x 3, both, got 2 x 2 and 2 x 2");
  refuse(of(3, 1), x, "gamma and beta are given for all examples or for each");
  Modulation<double> uneven = of(2, 3);
  uneven.beta.resize(2, 1);
  refuse(uneven, x, "got 2 x 3 and 2 x 1");
  Modulation<double> broken = of(2, 3);
  broken.gamma(1, 2) = std::numeric_limits<double>::quiet_NaN();  // of the last example
  refuse(broken, x, "gamma of channel 1");
  const Eigen::Array<bool, 3, 1> mask(true, true, false);
  refuse(of(2, 3), masked(x, mask), "per example are given without a mask");
  CHECK_THROWS_WITH(infer_conditional(layer, of(2, 3), x, y),
                    Contains("running statistics must come from data"));
  const auto batch = train_conditional(layer, of(2, 3), x, y);
  CHECK_THROWS_WITH(
      backward_conditional(layer, batch, of(2, 3), with_residual(x, x), x, with_residual(y, y)),
      Contains("disjoint"));
  Eigen::MatrixXd dr(2, 3);
  CHECK_THROWS_WITH(
      backward_conditional(layer, batch, of(2, 3), with_residual(x, x), x, with_residual(y, dr)),
      Contains("residual"));
  Options options;
  options.epilogue = Epilogue::relu();
  CHECK_THROWS_WITH(backward_conditional(BatchNorm<double>(2, options), batch, of(2, 3), x, x, y),
                    Contains("multiply dy by the slope"));
  const Eigen::MatrixXd none(2, 0);
  Eigen::MatrixXd no_output(2, 0);
  infer_conditional(layer, of(2, 1), none, no_output);
  CHECK(backward_conditional_frozen(layer, of(2, 1), none, none, no_output).gamma.isZero(0));
  CHECK(backward_conditional_frozen(layer, of(2, 0), none, none, no_output).gamma.cols() == 0);
}

TEST_CASE("conditional calls write nothing where a later example is refused") {
  BatchNorm<double> layer(2);
  Eigen::MatrixXd x(2, 3), y(2, 3);
  x << 1, 2, 4, 3, 5, 9;
  Modulation<double> given{Eigen::MatrixXd::Ones(2, 3), Eigen::MatrixXd::Zero(2, 3)};
  const auto batch = train_conditional(layer, given, x, y);
  given.gamma(1, 2) = std::numeric_limits<double>::quiet_NaN();
  y.setConstant(-5);
  CHECK_THROWS_WITH(infer_conditional(layer, given, x, y), Contains("gamma of channel 1"));
  CHECK_THROWS_WITH(backward_conditional(layer, batch, given, x, x, y),
                    Contains("gamma of channel 1"));
  CHECK((y.array() == -5).all());
}

TEST_CASE("backward of conditional calls refuses moments, shapes and masks that do not fit") {
  BatchNorm<double> layer(1);
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::LinSpaced(3, 0, 2);
  const Eigen::RowVectorXd one = Eigen::RowVectorXd::Ones(1);
  Eigen::RowVectorXd dx(3), dx_of_one(1);
  const Modulation<double> given{Eigen::MatrixXd::Ones(1, 1), Eigen::MatrixXd::Zero(1, 1)};
  const Modulation<double> each{Eigen::MatrixXd::Ones(1, 3), Eigen::MatrixXd::Zero(1, 3)};
  const Modulation<double> wrong{Eigen::MatrixXd::Ones(1, 2), Eigen::MatrixXd::Zero(1, 2)};
  auto batch = moments_of(x);
  CHECK_THROWS_WITH(backward_conditional(layer, moments_of(one), given, x, x, dx),
                    Contains("the moments must be those of this input"));
  CHECK_THROWS_WITH(backward_conditional(layer, moments_of(one), given, one, one, dx_of_one),
                    Contains("from two values per channel on"));
  CHECK_THROWS_WITH(backward_conditional(layer, batch, wrong, x, x, dx),
                    Contains("expected 1 x 1 or 1 x 3"));
  const Eigen::Array<bool, 3, 1> mask(true, true, false);
  CHECK_THROWS_WITH(
      backward_conditional(layer, moments_of(masked(x, mask)), each, masked(x, mask), x, dx),
      Contains("per example are given without a mask"));
  batch.mean[0] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(backward_conditional(layer, batch, given, x, x, dx),
                    Contains("backward_conditional: the statistics of a"));
  layer.state().beta.setZero(2);
  CHECK_THROWS_AS(train_conditional(layer, given, x, dx), std::invalid_argument);
  CHECK_THROWS_AS(backward_conditional(layer, moments_of(x), given, x, x, dx),
                  std::invalid_argument);
}

TEST_CASE("train_conditional moves the statistics on as training does, or not at all") {
  Options options;
  options.running = RunningUpdate::population();
  BatchNorm<double> pooled(1, options);
  pooled.state().batches_seen = 2;
  pooled.state().samples_seen = State<double>::unknown;
  Eigen::RowVectorXd x(3), y = Eigen::RowVectorXd::Constant(3, -5);
  x << 0, 1, 5;
  const Modulation<double> given{Eigen::MatrixXd::Ones(1, 1), Eigen::MatrixXd::Zero(1, 1)};
  CHECK_THROWS_WITH(train_conditional(pooled, given, x, y), Contains("weighs by samples seen"));
  CHECK((y.array() == -5).all());
  options = {};
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> skipping(1, options);
  x[1] = std::numeric_limits<double>::quiet_NaN();
  train_conditional(skipping, given, x, y);
  CHECK(skipping.state().batches_seen == 0);
  CHECK(skipping.state().running_mean[0] == 0);
}

TEST_CASE("gamma and beta per example keep the digits of values far from zero") {
  Case given(11, true, false);
  for (Real& value : given.x.values) value = static_cast<Real>(static_cast<float>(value + 1e5L));
  const auto loss = [&] { return reference::dot(given.literal.forward(given.x), given.dy); };
  const auto by_x = reference::central_differences(given.x.values, loss, 1e-3L);
  BatchNorm<float> layer = given.layer<float>();
  const Modulation<float> modulation = given.modulation<float>();
  const Stored<float> x(given.x, Layout::channels_first), dy(given.dy, Layout::channels_first);
  Stored<float> y = Stored<float>::like(given.x, Layout::channels_first), dx = y;
  const auto batch = train_conditional(layer, modulation, x.view(), y.view());
  backward_conditional(layer, batch, modulation, x.view(), dy.view(), dx.view());
  CHECK(reference::worst_share(dx.read().values, by_x) < 5e-6L);
}
