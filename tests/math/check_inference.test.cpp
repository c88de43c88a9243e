// SPDX-License-Identifier: MIT
#include "batchnorm/math/check_inference.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "batchnorm/math/moments.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

/// What is said about a state, "" when nothing is.
template <class T, int Channels>
std::string complaint(const State<T, Channels>& state, const Options& options = {}) {
  try {
    detail::check_inference("f", options, state, detail::statistics_of(state));
  } catch (const std::domain_error& error) {
    return error.what();
  }
  return "";
}

std::string about(const char* name, Index channel) {
  return detail::text("f: ", name, " of channel ", channel,
                      ": expected a finite number, got NaN, infinity or overflow");
}

}  // namespace

TEMPLATE_TEST_CASE("the first number that is not finite is named, wherever it stands", "", float,
                   double, long double, Eigen::half, Eigen::bfloat16) {
  using P = parameter_t<TestType>;
  constexpr Index channels = 21;  // more than any vector has lanes, and some behind the last one
  for (const P bad : {std::numeric_limits<P>::quiet_NaN(), std::numeric_limits<P>::infinity(),
                      -std::numeric_limits<P>::infinity()}) {
    for (const Index channel : {0, 7, 8, 19, 20}) {
      State<TestType> state(channels);
      CHECK(complaint(state) == "");
      state.beta[channel] = bad;
      CHECK(complaint(state) == about("beta", channel));
      state.gamma[channel] = bad;
      CHECK(complaint(state) == about("gamma", channel));
      Options options;
      options.scale = false;
      CHECK(complaint(state, options) == about("beta", channel));
      options.shift = false;
      CHECK(complaint(state, options) == "");
      options.scale = options.shift = true;
      options.non_finite = NonFinite::skip_update;
      CHECK(complaint(state, options) == about("gamma", channel));
      options.non_finite = NonFinite::propagate;
      CHECK(complaint(state, options) == "");
    }
  }
}

TEST_CASE("the statistics of a minibatch are divided by its count, and may be NaN on purpose") {
  Options options;
  options.epsilon = 0.0;
  State<float> state(2);
  Moments<double> batch(2);
  batch.count = 4;
  batch.sum_of_squares << 4.0, 4e-58;  // of 1e-58 each: a root of 1e-29
  const auto said = [&] {
    try {
      detail::check_inference("f", options, state, detail::statistics_of(batch));
    } catch (const std::domain_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  state.gamma[1] = 3e9f;  // 3e38, where the sum in the place of the variance gave 1.5e38
  CHECK(said() == "");
  state.gamma[1] = 5e9f;
  CHECK(said() == about("gamma / sqrt(variance + epsilon)", 1));
  state.running_variance[1] = 1e-70;
  state.gamma[1] = 1.0f;
  CHECK(said() == "");
  options.non_finite = NonFinite::skip_update;
  batch.mean[0] = batch.sum_of_squares[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK(said() == "");
  state.beta[0] = std::numeric_limits<float>::infinity();
  CHECK(said() == about("beta", 0));
  state.beta[0] = 0.0f;
  state.gamma[1] = std::numeric_limits<float>::quiet_NaN();
  CHECK(said() == about("gamma", 1));
}

TEST_CASE("numbers that are large and fit are taken") {
  State<float> state(9);
  state.gamma[3] = 1e30f;
  state.beta[4] = -3e38f;
  state.running_mean[5] = 1e35;
  CHECK(complaint(state) == "");
  state.running_variance[3] = 1e-4;
  CHECK(complaint(state) == "");
  state.gamma[3] = 3.7e36f;  // times 95
  CHECK(complaint(state) == about("gamma / sqrt(variance + epsilon)", 3));
}

TEST_CASE("a scale that overflows is refused, at epsilon 0 too") {
  Options options;
  options.epsilon = 0.0;
  State<float> state(2);
  CHECK(complaint(state, options) == "");
  state.gamma[1] = 1e8f;
  state.running_variance[1] = 1e-58;  // 1e37
  CHECK(complaint(state, options) == "");
  state.running_variance[1] = 1e-62;  // 1e39
  CHECK(complaint(state, options) == about("gamma / sqrt(variance + epsilon)", 1));
  State<double> wide(2);
  wide.gamma[1] = 1e200;
  wide.running_variance[1] = 1e-200;
  CHECK(complaint(wide, options) == "");
  wide.running_variance[1] = 1e-240;
  CHECK(complaint(wide, options) == about("gamma / sqrt(variance + epsilon)", 1));
}

TEST_CASE("what the rounding of the mean puts into the shift must fit, too") {
  Options options;
  options.epsilon = 0.0;
  State<float> state(1);
  state.running_mean[0] = 1e20 + 1e12;  // 4e12 away from a float, about
  state.gamma[0] = 1e30f;
  state.running_variance[0] = 1.0;
  CHECK(std::fabs(1e20 + 1e12 - static_cast<double>(static_cast<float>(1e20 + 1e12))) > 1e10);
  CHECK(complaint(state, options) == about("beta", 0));
  state.gamma[0] = 1e20f;
  CHECK(complaint(state, options) == "");
}
