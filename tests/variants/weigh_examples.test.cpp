// SPDX-License-Identifier: MIT
#include "batchnorm/variants/weigh_examples.hpp"

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

/// The two papers' formulas, as they write them.
struct Literal {
  PerChannel gamma, beta, mu, sigma2;
  Real epsilon = 0.05L;
  Real a, b;
  bool second_moments;
  Real slope = 1;

  Batch forward(const Batch& x) const {
    Batch y = x;
    const Real count = static_cast<Real>(x.positions);
    for (Size n = 0; n < x.samples; ++n) {
      for (Size c = 0; c < x.channels; ++c) {
        Real mean = 0, square = 0;
        for (Size p = 0; p < x.positions; ++p) {
          mean += x.at(n, c, p) / count;
          square += x.at(n, c, p) * x.at(n, c, p) / count;
        }
        const Real mixed = a * mean + (1 - a) * mu[c];
        const Real variance =
            second_moments ? a * square + (1 - a) * (sigma2[c] + mu[c] * mu[c]) - mixed * mixed
                           : b * (square - mean * mean) + (1 - b) * sigma2[c];
        for (Size p = 0; p < x.positions; ++p) {
          Real& out = y.at(n, c, p);
          out = gamma[c] * (x.at(n, c, p) - mixed) / std::sqrt(variance + epsilon) + beta[c];
          if (out < 0) out *= slope;
        }
      }
    }
    return y;
  }
};

struct Case {
  Literal literal;
  Batch x, dy;
  ExampleWeighing weighing;

  Case(std::uint64_t seed, const ExampleWeighing& how, Size positions)
      : x{4, 3, positions}, dy(x), weighing(how) {
    Random random(seed);
    x = stored_as<float>(normal_batch(random, 4, 3, positions, 0.5L, 2));
    dy = stored_as<float>(normal_batch(random, 4, 3, positions, 0.3L));
    literal.gamma = stored_as<float>(uniform_channels(random, 3, -2, 2));
    literal.beta = stored_as<float>(uniform_channels(random, 3, -1, 1));
    literal.mu = stored_as<float>(uniform_channels(random, 3, -1, 1));
    literal.sigma2 = stored_as<float>(uniform_channels(random, 3, 1, 5));
    literal.a = static_cast<Real>(how.share_of_mean());
    literal.b = static_cast<Real>(how.share_of_variance());
    literal.second_moments = how.mixes_second_moments();
  }

  template <class T>
  BatchNorm<T> layer(const Options& options = {}) const {
    return make_layer<T>({literal.gamma, literal.beta, literal.mu, literal.sigma2, literal.epsilon},
                         options);
  }
};

template <class T>
void check_case(Case& given, const Options& options, Layout layout, Real share) {
  INFO(name_of(layout));
  const auto loss = [&] { return reference::dot(given.literal.forward(given.x), given.dy); };
  const auto by_x = reference::central_differences(given.x.values, loss, 1e-5L);
  const auto by_gamma = reference::central_differences(given.literal.gamma, loss, 1e-5L);
  const auto by_beta = reference::central_differences(given.literal.beta, loss, 1e-5L);
  const BatchNorm<T> layer = given.layer<T>(options);
  const Stored<T> x(given.x, layout), dy(given.dy, Layout::channels_first);
  Stored<T> y = Stored<T>::like(given.x, layout), dx = y;
  infer_weighing_examples(layer, given.weighing, x.view(), y.view());
  const auto gradients =
      backward_weighing_examples(layer, given.weighing, x.view(), dy.view(), dx.view());
  CHECK(reference::worst_share(y.read().values, given.literal.forward(given.x).values) < share);
  CHECK(reference::worst_share(dx.read().values, by_x) < share);
  CHECK(reference::worst_share(to_reals(gradients.gamma), by_gamma) < share);
  CHECK(reference::worst_share(to_reals(gradients.beta), by_beta) < share);
  CHECK(y.gaps_are_untouched());
}

}  // namespace

TEST_CASE("both mixtures: forward by their formulas, backward by differences") {
  std::uint64_t seed = 1;
  for (const auto& weighing :
       {ExampleWeighing::second_moments(0.3), ExampleWeighing::evalnorm(0.25, 0.5)}) {
    for (const Size positions : {Size{1}, Size{6}}) {
      INFO(weighing.mixes_second_moments() << ' ' << positions);
      Case given(seed++, weighing, positions);
      for (const Layout layout : all_layouts) {
        check_case<double>(given, {}, layout, 1e-10L);
        check_case<float>(given, {}, layout, 5e-6L);
      }
      Options options;
      options.epilogue = Epilogue::leaky_relu(0.25);
      given.literal.slope = 0.25L;
      check_case<double>(given, options, Layout::channels_first, 1e-10L);
    }
  }
}

TEST_CASE("a share of 0 is inference, to the bit; a share of 1 is normalisation of each example") {
  const Case given(7, ExampleWeighing::second_moments(0), 6);
  const BatchNorm<float> layer = given.layer<float>();
  const Stored<float> x(given.x, Layout::channels_last);
  Stored<float> y = Stored<float>::like(given.x, Layout::channels_last), inferred = y;
  infer_weighing_examples(layer, given.weighing, x.view(), y.view());
  layer.infer(x.view(), inferred.view());
  CHECK(y.same_bits(inferred));
  for (const auto& all : {ExampleWeighing::second_moments(1), ExampleWeighing::evalnorm(1, 1)}) {
    infer_weighing_examples(layer, all, x.view(), y.view());
    for (Index n = 0; n < 4; ++n) {
      const auto example = detail::samples_of(x.view(), n, 1);
      auto out = detail::samples_of(inferred.view(), n, 1);
      layer.normalize(moments_of(example), example, out);
    }
    CHECK(reference::worst_share(y.read().values, inferred.read().values) < 1e-6L);
  }
}

TEST_CASE("an example's output depends on no other, and may be its input") {
  const Case given(8, ExampleWeighing::second_moments(0.4), 3);
  const BatchNorm<double> layer = given.layer<double>();
  const Stored<double> x(given.x, Layout::channels_first);
  Stored<double> y = Stored<double>::like(given.x, Layout::channels_first);
  infer_weighing_examples(layer, given.weighing, x.view(), y.view());
  Batch other = given.x;
  for (Size c = 0; c < 3; ++c) other.at(1, c, 0) = std::numeric_limits<double>::quiet_NaN();
  Stored<double> over(other, Layout::channels_first);
  infer_weighing_examples(layer, given.weighing, over.view(), over.view());
  other.each([&](Size n, Size c, Size p) {
    if (n != 1) CHECK(over.read().at(n, c, p) == y.read().at(n, c, p));
  });
  const Stored<double> r(given.dy, Layout::channels_first);
  Stored<double> sum = y;
  infer_weighing_examples(layer, given.weighing, with_residual(x.view(), r.view()), sum.view());
  given.x.each([&](Size n, Size c, Size p) {
    CHECK(static_cast<double>(sum.read().at(n, c, p)) ==
          Approx(static_cast<double>(y.read().at(n, c, p) + given.dy.at(n, c, p))));
  });
}

TEST_CASE("weighing of examples refuses what it cannot do") {
  for (const double share : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_WITH(ExampleWeighing::second_moments(share), Contains("a number in [0, 1]"));
    CHECK_THROWS_WITH(ExampleWeighing::evalnorm(0.5, share), Contains("a number in [0, 1]"));
    CHECK_THROWS_WITH(ExampleWeighing::evalnorm(share, 0.5), Contains("a number in [0, 1]"));
  }
  const auto half = ExampleWeighing::second_moments(0.5);
  BatchNorm<double> layer(1);
  Eigen::RowVectorXd x(3), y(3);
  x << 1, 2, 4;
  CHECK_THROWS_WITH(infer_weighing_examples(layer, half, x, y),
                    Contains("running statistics must come from data"));
  CHECK_THROWS_WITH(backward_weighing_examples(layer, half, x, x, y),
                    Contains("running statistics must come from data"));
  layer.train(x, y);
  const Eigen::Array<bool, 3, 1> mask(true, true, false);
  CHECK_THROWS_WITH(infer_weighing_examples(layer, half, masked(x, mask), y),
                    Contains("the moments of an example are of all its positions"));
  CHECK_THROWS_WITH(backward_weighing_examples(layer, half, masked(x, mask), x, y),
                    Contains("the moments of an example are of all its positions"));
  Eigen::RowVectorXd dr(3);
  CHECK_THROWS_WITH(
      backward_weighing_examples(layer, half, with_residual(x, x), x, with_residual(y, dr)),
      Contains("residual"));
  const Eigen::MatrixXd none(1, 0);
  Eigen::MatrixXd no_output(1, 0);
  infer_weighing_examples(layer, half, none, no_output);
  CHECK(backward_weighing_examples(layer, half, none, none, no_output).gamma[0] == 0);
  layer.state().beta.setZero(2);
  CHECK_THROWS_AS(infer_weighing_examples(layer, half, x, y), std::invalid_argument);
  CHECK_THROWS_AS(backward_weighing_examples(layer, half, x, x, y), std::invalid_argument);
}
