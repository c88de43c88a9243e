// SPDX-License-Identifier: MIT
#include "batchnorm/math/statistics.hpp"

#include <limits>
#include <stdexcept>

#include "support/catch.hpp"

using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
namespace detail = batchnorm::detail;
using namespace batchnorm_test;

TEST_CASE("statistics of a channel, of a minibatch and running", "[statistics]") {
  batchnorm::Moments<double> moments(3);
  moments.count = 8;
  moments.mean << 1.0, 2.5, -3.0;
  moments.sum_of_squares << 8.0, 2.0, 0.0;
  const auto batch = detail::statistics_of(moments);
  CHECK(batch.mean[1] == 2.5);
  CHECK(batch.variance[1] / batch.divisor == 0.25);
  State<float> state(3);
  state.running_mean << 4.0f, 5.0f, 0.1f;
  state.running_variance << 1.0f, 1.0f, 15.0f;
  const auto running = detail::statistics_of(state);
  CHECK(running.mean[2] == static_cast<double>(0.1f));
  CHECK(running.variance[2] / running.divisor == 15.0);
}

TEST_CASE("every channel has its own statistics, gamma, beta and inverse deviation",
          "[statistics]") {
  constexpr Index most = 13;
  for (const Index channels : {1, 2, 3, 4, 5, 7, 8, 13}) {
    State<float> state(channels);
    for (Index c = 0; c < channels; ++c) {
      const auto number = static_cast<float>(c);
      state.running_mean[c] = number + 0.25f;
      state.running_variance[c] = (number + 1) * (number + 1) - 0.5f;
      state.gamma[c] = number - 7;
      state.beta[c] = 2 * number;
    }
    for (const bool learned : {true, false}) {
      Options options;
      options.epsilon = 0.5;
      options.scale = options.shift = learned;
      float to[4][most];
      double inverse[most], error[most];
      detail::CentredCoefficients<double, float> coefficients{
          detail::statistics_of(state), detail::parameters_of(options, state)};
      coefficients.pivot = to[0];
      coefficients.scale = to[1];
      coefficients.shift = to[2];
      coefficients.rounded_inverse = to[3];
      coefficients.inverse = inverse;
      coefficients.pivot_error = error;
      detail::for_channels<double>(0, channels, coefficients);
      for (Index c = 0; c < channels; ++c) {
        INFO("channel " << c << " of " << channels);
        const auto number = static_cast<double>(c);
        CHECK(to[0][c] == static_cast<float>(number + 0.25));
        CHECK(to[1][c] == static_cast<float>((learned ? number - 7 : 1) * (1.0 / (number + 1))));
        CHECK(to[2][c] == static_cast<float>(learned ? 2 * number : 0));
        CHECK(to[3][c] == static_cast<float>(1.0 / (number + 1)));
        CHECK(inverse[c] == 1.0 / (number + 1));
        CHECK(error[c] == 0.0);  // the means are floats
      }
    }
  }
}

TEST_CASE("a channel that cannot be divided by its deviation is named", "[statistics]") {
  State<float> state(3);
  state.running_variance[2] = 0.0f;
  const auto statistics = detail::statistics_of(state);
  CHECK_NOTHROW(detail::check_deviation<float>("f", 1e-5, 3, statistics));
  CHECK_THROWS_MATCHES(
      detail::check_deviation<float>("f", 0.0, 3, statistics), std::domain_error,
      says("f: variance + epsilon of channel 2 is divided by: expected a number larger than 0; "
           "choose an epsilon larger than 0, got 0"));
}

TEST_CASE("a variance whose inverse root overflows is refused, too", "[statistics]") {
  batchnorm::Moments<double> moments(1);
  moments.count = 1;
  moments.sum_of_squares[0] = 1e-80;
  const auto statistics = detail::statistics_of(moments);
  CHECK_THROWS_MATCHES(detail::check_deviation<float>("f", 0.0, 1, statistics), std::domain_error,
                       says("one so small that its inverse overflows"));
  CHECK_NOTHROW(detail::check_deviation<double>("f", 0.0, 1, statistics));
  CHECK_NOTHROW(detail::check_deviation<float>("f", 1e-59, 1, statistics));
  // Per channel, and with epsilon: 1e-77 / 10 + 9e-78 = 1e-77, whose inverse root is 3.2e38.
  moments.count = 10;
  moments.sum_of_squares[0] = 1e-77;
  const auto of_ten = detail::statistics_of(moments);
  CHECK_NOTHROW(detail::check_deviation<float>("f", 9.1e-78, 1, of_ten));
  CHECK_THROWS_AS(detail::check_deviation<float>("f", 7e-78, 1, of_ten), std::domain_error);
}

TEST_CASE("what is no number of this rule passes it", "[statistics]") {
  batchnorm::Moments<double> moments(3);
  moments.count = 1;
  moments.sum_of_squares << std::numeric_limits<double>::quiet_NaN(),
      std::numeric_limits<double>::infinity(), 1e-60;
  CHECK_NOTHROW(detail::check_deviation<float>("f", 0.0, 3, detail::statistics_of(moments)));
}
