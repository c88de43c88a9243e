// SPDX-License-Identifier: MIT
// Numbers per channel that the layer refuses before it writes anything: of moments, parameters and
// running statistics, and counters.
#include <limits>
#include <stdexcept>
#include <string>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/unchanged.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
}  // namespace

TEST_CASE("moments that are not finite do not reach the gradients", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf x = ramp(3, 8), dx = x;
  const Moments<double> good = moments_of(x);
  const auto sums = test.layer.backward_sums(good, x, x);
  for (const double value : {not_a_number, std::numeric_limits<double>::infinity(), 1e300}) {
    Moments<double> bad = good;
    bad.mean[1] = value;
    const auto refused = [&](const char* function, const auto& call) {
      const std::string rule = ": the statistics of a minibatch must be finite: expected";
      test.refuses<std::domain_error>(call, (function + rule).c_str());
    };
    refused("BatchNorm::backward", [&] { test.layer.backward(bad, x, x, dx); });
    refused("BatchNorm::backward", [&] { test.layer.backward(bad, sums, x, x, dx); });
    refused("BatchNorm::backward_sums", [&] { (void)test.layer.backward_sums(bad, x, x); });
    refused("BatchNorm::backward_from_output",
            [&] { test.layer.backward_from_output(bad, x, x, dx); });
  }
  CHECK(dx == x);
  Options options;
  options.non_finite = NonFinite::propagate;
  Moments<double> nan = good;
  nan.mean[1] = not_a_number;
  BatchNorm<float>(3, options).backward(nan, x, x, dx);
  CHECK(dx.row(1).array().isNaN().all());
  CHECK(dx.row(2).array().isFinite().all());
}

TEST_CASE("parameters that are not finite do not reach an output", "[bad input]") {
  const Eigen::MatrixXf x = ramp(3, 8);
  for (const NonFinite policy : {NonFinite::reject, NonFinite::skip_update}) {
    for (const std::string name : {"gamma", "beta", "gamma / sqrt(variance + epsilon)"}) {
      Options options;
      options.non_finite = policy;
      options.epsilon = 1e-40;
      BatchNorm<float> layer(3, options);
      Eigen::MatrixXf in = x, y = x;
      if (name == "beta") layer.state().beta[2] = static_cast<float>(not_a_number);
      if (name == "gamma") layer.state().gamma[2] = static_cast<float>(not_a_number);
      if (name.size() > 5) {
        layer.state().gamma[2] = 1e30f;
        in.row(2) *= 1e-18f;  // a deviation of about 3e-18: a quotient of about 3e47
      }
      const Moments<double> of_in = moments_of(in);
      const auto refused = [&](const char* function, const auto& call) {
        const std::string text = std::string(function) + ": " + name + " of channel 2: expected a";
        CHECK_THROWS_MATCHES(call(), std::domain_error, says(text));
        CHECK(y == x);
        CHECK(layer.state().batches_seen == 0);
        CHECK(layer.state().running_mean == State<float>(3).running_mean);
      };
      refused("BatchNorm::train", [&] { layer.train(in, y); });
      refused("BatchNorm::normalize", [&] { layer.normalize(in, y); });
      refused("BatchNorm::normalize", [&] { layer.normalize(of_in, in, y); });
      refused("BatchNorm::backward", [&] { layer.backward(of_in, in, in, y); });
    }
  }
  Options options;
  options.non_finite = NonFinite::propagate;
  BatchNorm<float> layer(3, options);
  layer.state().gamma[2] = static_cast<float>(not_a_number);
  const auto trained = layer.train(x);
  CHECK(trained.output.row(2).array().isNaN().all());
  CHECK(layer.state().batches_seen == 1);
}

TEST_CASE("a state that no step can start from is refused by train", "[bad input]") {
  for (const NonFinite policy : {NonFinite::reject, NonFinite::propagate}) {
    Options options;
    options.non_finite = policy;
    Unchanged test(options);
    Eigen::MatrixXf x = ramp(3, 8);
    const auto refused = [&](const State<float>& state, const char* text) {
      test.set(state);
      test.refuses<std::exception>([&] { test.layer.train(x, x); }, text);
      CHECK(x == ramp(3, 8));
    };
    State<float> state = test.layer.state();
    state.running_variance[1] = -1.0;
    refused(state, "BatchNorm::train: running variance of channel 1: expected zero or larger");
    state.running_variance[1] = 1.0;
    state.batches_seen = (std::numeric_limits<Index>::max)();
    refused(state, "BatchNorm::train: number of minibatches seen, all together: expected at most");
    state.batches_seen = 1;
    state.samples_seen = (std::numeric_limits<Index>::max)() - 7;
    refused(state, "BatchNorm::train: number of samples seen, all together: expected at most");
  }
}

TEST_CASE("a slope that the type of the parameters cannot hold makes no layer", "[bad input]") {
  Options steep;
  steep.epilogue = Epilogue::leaky_relu(1e300);
  const char* const text =
      "the slope below zero must fit the type of gamma and beta: expected a number in its range, "
      "got 1e+300";
  CHECK_THROWS_MATCHES(BatchNorm<float>(2, steep), std::invalid_argument, says(text));
  CHECK_THROWS_MATCHES((BatchNorm<float, 2>(steep)), std::invalid_argument, says(text));
  CHECK_THROWS_MATCHES(BatchNorm<Eigen::half>(State<Eigen::half>(2), steep), std::invalid_argument,
                       says(text));
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(State<float>(2), steep), std::invalid_argument,
                       says(text));
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>::from_scale_and_shift(
                           Eigen::Vector2f(1, 1), Eigen::Vector2f(0, 0), steep.epilogue),
                       std::invalid_argument, says(text));
  CHECK_NOTHROW(BatchNorm<double>(2, steep));
}
