// SPDX-License-Identifier: MIT
#include "batchnorm/math/normalize.hpp"

#include <cmath>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
namespace detail = batchnorm::detail;
using namespace batchnorm_test;

namespace {

State<float> one_channel(float mean, float variance, float gamma, float beta) {
  State<float> state(1);
  state.running_mean[0] = mean;
  state.running_variance[0] = variance;
  state.gamma[0] = gamma;
  state.beta[0] = beta;
  return state;
}

void coefficients(const Options& options, const detail::StatisticsView<double>& statistics,
                  const State<float>& state, float* k) {
  float* const to[] = {k, k + 1, k + 2};
  detail::ForwardSource<float>(statistics, detail::parameters_of(options, state)).write(0, 1, to);
}
void coefficients(const Options& options, const State<float>& state, float* k) {
  coefficients(options, detail::statistics_of(state), state, k);
}

/// The forward map of one value; `residual` may be null.
float mapped(float x, const float* residual, const float* k, const batchnorm::Epilogue& epilogue) {
  const auto options = detail::formula_options<float>(epilogue, residual != nullptr);
  float y = 0.0f;
  if (residual == nullptr) {
    detail::Forward::apply<true>(&y, &x, k, options);
  } else {
    const float inputs[] = {x, *residual};
    detail::Forward::apply<false>(&y, inputs, k, options);
  }
  return y;
}

}  // namespace

TEST_CASE("the coefficients are pivot, scale and shift", "[normalize]") {
  Options options;
  options.epsilon = 0.75;
  float k[3];
  coefficients(options, one_channel(3.0f, 3.25f, 6.0f, -1.0f), k);
  CHECK(k[0] == 3.0f);
  CHECK(k[1] == 3.0f);  // 6 / sqrt(3.25 + 0.75)
  CHECK(k[2] == -1.0f);
}

TEST_CASE("gamma and beta are left out when the options say so", "[normalize]") {
  Options options;
  options.epsilon = 0.0;
  options.scale = false;
  options.shift = false;
  float k[3];
  coefficients(options, one_channel(0.0f, 4.0f, 6.0f, -1.0f), k);
  CHECK(k[1] == 0.5f);
  CHECK(k[2] == 0.0f);
}

TEST_CASE("the shift gives back what rounding takes from the mean", "[normalize]") {
  // 1000.00001 is no float: the pivot is 1000 and the rest, 1e-5, is worth 1e-4 after scaling.
  batchnorm::Moments<double> moments(1);
  moments.count = 4;
  moments.mean[0] = 1000.00001;
  moments.sum_of_squares[0] = 0.04;
  Options options;
  options.epsilon = 0.0;
  float k[3];
  coefficients(options, detail::statistics_of(moments), State<float>(1), k);
  CHECK(k[0] == 1000.0f);
  CHECK_THAT(k[2], Catch::Matchers::WithinRel(-1e-4f, 1e-4f));
}

TEST_CASE("the centred map does not lose small differences of large numbers", "[normalize]") {
  const float k[3] = {1e6f, 2.0f, 0.5f};
  CHECK(mapped(1e6f + 0.0625f, nullptr, k, batchnorm::Epilogue::none()) == 0.625f);
}

TEST_CASE("the residual is added before the epilogue is applied", "[normalize]") {
  const float k[] = {3.0f, 2.0f, 0.5f};
  const auto with = [&](float x, float residual, double slope) {
    return mapped(x, &residual, k, batchnorm::Epilogue::leaky_relu(slope));
  };
  // (x - 3) 2 + 0.5 is 2.5 for 4 and -1.5 for 2.
  CHECK(with(4.0f, 1.0f, 0.0) == 3.5f);
  CHECK(with(4.0f, -3.0f, 0.0) == 0.0f);
  CHECK(with(4.0f, -3.0f, 0.25) == -0.125f);
  CHECK(with(2.0f, 2.0f, 0.25) == 0.5f);
  CHECK(with(2.0f, 0.0f, 4.0) == -6.0f);
  CHECK(with(2.0f, 1.5f, 0.25) == 0.0f);
}

TEST_CASE("there is an epilogue unless it is the identity", "[normalize]") {
  const auto rectified = [](const batchnorm::Epilogue& epilogue) {
    return detail::formula_options<float>(epilogue, false).rectified;
  };
  CHECK_FALSE(rectified(batchnorm::Epilogue::none()));
  CHECK_FALSE(rectified(batchnorm::Epilogue::leaky_relu(1.0)));
  CHECK(rectified(batchnorm::Epilogue::relu()));
  CHECK(rectified(batchnorm::Epilogue::leaky_relu(0.01)));
  CHECK(rectified(batchnorm::Epilogue::leaky_relu(2.0)));
}

TEMPLATE_TEST_CASE("minibatches are normalised channel by channel, or with tables, exactly",
                   "[normalize]", float, double) {
  Random random(8);
  const ExactBatch exact = exact_batch(random, 4, 5, 512);
  const Caches small(4096, Index{1} << 30);
  State<TestType> state(5);
  state.gamma << 2, -1, 0.5f, 4, 1;
  state.beta << 1, 0, -2, 8, 0.5f;
  Options options;
  options.epsilon = 0.0;
  options.epilogue = batchnorm::Epilogue::relu();
  reference::Layer oracle{PerChannel(5), PerChannel(5), exact.mean, exact.variance, 0.0L, 0.0L};
  for (Index c = 0; c < 5; ++c) {
    oracle.gamma[static_cast<Size>(c)] = static_cast<Real>(state.gamma[c]);
    oracle.beta[static_cast<Size>(c)] = static_cast<Real>(state.beta[c]);
  }
  const Batch plain = reference::forward(oracle, exact.values);
  const Batch added = reference::forward(oracle, exact.values, exact.values);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<TestType> x(exact.values, layout);
    const auto view = x.view();
    for (const bool has_residual : {false, true}) {
      const detail::InputViews<TestType> in{view, has_residual ? &view : nullptr};
      const Batch& expected = has_residual ? added : plain;
      auto y = Stored<TestType>::like(exact.values, layout);
      auto moments = detail::moments_without_sums<Eigen::Dynamic, TestType>(in.x, nullptr);
      const bool written = detail::moments_and_output(options, state, in, y.view(), {}, moments);
      const bool apart = layout != Layout::channels_last && layout != Layout::backwards;
      CHECK(written == apart);
      CHECK(moments.count == 2048);
      for (Index c = 0; c < 5; ++c) {
        const auto channel = static_cast<Size>(c);
        CHECK(static_cast<Real>(moments.mean[c]) == exact.mean[channel]);
        CHECK(static_cast<Real>(moments.sum_of_squares[c]) == 2048 * exact.variance[channel]);
      }
      auto again = Stored<TestType>::like(exact.values, layout);
      detail::normalize_with_tables(options, state, detail::statistics_of(moments), in,
                                    again.view(), {});
      CHECK(again.read().values == expected.values);
      CHECK(again.gaps_are_untouched());
      if (written) CHECK(again.same_bits(y));
    }
  }
}
