// SPDX-License-Identifier: MIT
#include "batchnorm/options.hpp"

#include <Eigen/Core>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;
using Rule = RunningUpdate::Rule;

TEST_CASE("each named function chooses its rule") {
  CHECK(RunningUpdate::take_new(0.1).rule() == Rule::exponential);
  CHECK(RunningUpdate::take_new(0.1).new_weight() == 0.1);
  CHECK(RunningUpdate::keep_old(0.75).rule() == Rule::exponential);
  CHECK(RunningUpdate::keep_old(0.75).new_weight() == 0.25);
  CHECK(RunningUpdate::keep_old_debiased(0.75).rule() == Rule::exponential_debiased);
  CHECK(RunningUpdate::keep_old_debiased(0.75).new_weight() == 0.25);
  CHECK(RunningUpdate::cumulative().rule() == Rule::cumulative);
  CHECK(RunningUpdate::windowed(7).rule() == Rule::windowed);
  CHECK(RunningUpdate::windowed(7).window() == 7);
  CHECK(RunningUpdate::population().rule() == Rule::population);
}

TEST_CASE("the weight of the new and that of the old are two names for one rule") {
  CHECK(RunningUpdate::take_new(0.25) == RunningUpdate::keep_old(0.75));
  CHECK(RunningUpdate::take_new(0.25) != RunningUpdate::keep_old(0.25));
  CHECK(RunningUpdate::keep_old(0.75) != RunningUpdate::keep_old_debiased(0.75));
  CHECK(RunningUpdate::windowed(3) != RunningUpdate::windowed(4));
  CHECK(RunningUpdate::cumulative() != RunningUpdate::population());
}

TEST_CASE("update weights are shares") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double weight : {-0.001, 1.001, 99.0, nan, infinity, -infinity}) {
    CHECK_THROWS_MATCHES(RunningUpdate::take_new(weight), std::invalid_argument,
                         says("RunningUpdate::take_new: an update weight is a share: expected a "
                              "number in [0, 1], got "));
    CHECK_THROWS_MATCHES(RunningUpdate::keep_old(weight), std::invalid_argument,
                         says("RunningUpdate::keep_old: "));
    CHECK_THROWS_MATCHES(RunningUpdate::keep_old_debiased(weight), std::invalid_argument,
                         says("RunningUpdate::keep_old_debiased: "));
    CHECK_THROWS_MATCHES(Options::haiku(weight), std::invalid_argument, says("[0, 1]"));
  }
  for (const double weight : {0.0, 1.0}) {
    CHECK_NOTHROW(RunningUpdate::take_new(weight));
    CHECK_NOTHROW(RunningUpdate::keep_old(weight));
    CHECK_NOTHROW(RunningUpdate::keep_old_debiased(weight));
  }
  CHECK_THROWS_MATCHES(RunningUpdate::take_new(1.5), std::invalid_argument, says("got 1.5"));
}

TEST_CASE("a window holds at least one minibatch") {
  CHECK_THROWS_MATCHES(RunningUpdate::windowed(0), std::invalid_argument,
                       says("RunningUpdate::windowed: the window counts minibatches: expected at "
                            "least 1, got 0"));
  CHECK_THROWS_AS(RunningUpdate::windowed(-5), std::invalid_argument);
  CHECK_NOTHROW(RunningUpdate::windowed(1));
}

// What each system documents or has in its source: weight of the new minibatch, estimator, epsilon.
TEST_CASE("presets say what the systems they are named after do") {
  struct Expected {
    Options options;
    RunningUpdate running;
    VarianceEstimator variance;
    double epsilon;
  };
  const auto population = VarianceEstimator::population;
  const auto sample = VarianceEstimator::sample;
  const Expected all[] = {
      {Options{}, RunningUpdate::take_new(0.1), sample, 1e-5},
      {Options::pytorch(), RunningUpdate::take_new(0.1), sample, 1e-5},
      {Options::keras(), RunningUpdate::keep_old(0.99), population, 1e-3},
      {Options::flax(), RunningUpdate::keep_old(0.99), population, 1e-5},
      {Options::haiku(0.9), RunningUpdate::keep_old_debiased(0.9), population, 1e-5},
      {Options::onnx(), RunningUpdate::keep_old(0.9), population, 1e-5},
      {Options::dlib(), RunningUpdate::windowed(100), sample, 1e-4},
      {Options::darknet(), RunningUpdate::keep_old(0.99), sample, 1e-5},
      {Options::matlab(), RunningUpdate::take_new(0.1), population, 1e-5},
      {Options::paper(), RunningUpdate::cumulative(), sample, 1e-5},
  };
  for (const Expected& expected : all) {
    CHECK(expected.options.running == expected.running);
    CHECK(expected.options.running_variance == expected.variance);
    CHECK(expected.options.epsilon == expected.epsilon);
    CHECK(expected.options.scale);
    CHECK(expected.options.shift);
    CHECK(expected.options.epilogue == Epilogue::none());
    CHECK(expected.options.non_finite == NonFinite::reject);
    CHECK(expected.options.single_value == SingleValue::reject);
    CHECK_NOTHROW(validate(expected.options));
  }
}

TEST_CASE("epsilon is a finite number, zero or larger") {
  Options options;
  for (const double epsilon : {0.0, 1e-300, 1e-5, 1e10}) {
    options.epsilon = epsilon;
    CHECK_NOTHROW(validate(options));
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double epsilon : {-1e-300, -1.0, nan, std::numeric_limits<double>::infinity()}) {
    options.epsilon = epsilon;
    CHECK_THROWS_MATCHES(validate(options), std::invalid_argument,
                         says("Options: epsilon is added to a variance: expected a finite number, "
                              "zero or larger, got "));
  }
}

TEST_CASE("an epilogue is its slope below zero") {
  CHECK(Epilogue::none().slope() == 1.0);
  CHECK(Epilogue::none().is_identity());
  CHECK(Epilogue::relu().slope() == 0.0);
  CHECK_FALSE(Epilogue::relu().is_identity());
  CHECK(Epilogue::leaky_relu(0.01).slope() == 0.01);
  CHECK_FALSE(Epilogue::leaky_relu(0.01).is_identity());
  CHECK_FALSE(Epilogue::leaky_relu(3.0).is_identity());
  CHECK(Epilogue::leaky_relu(1.0) == Epilogue::none());
  CHECK(Epilogue::leaky_relu(0.0) == Epilogue::relu());
  CHECK(Epilogue::leaky_relu(0.01) != Epilogue::leaky_relu(0.02));
  CHECK(Epilogue::relu() != Epilogue::none());
}

TEST_CASE("a slope is a finite number, zero or larger") {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto complaint = [](double slope) -> std::string {
    try {
      Epilogue::leaky_relu(slope);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  const std::string rule =
      "Epilogue::leaky_relu: the slope below zero: expected a finite number, zero or larger, got ";
  CHECK(complaint(-0.01) == rule + "-0.01");
  CHECK(complaint(-5e-324) != "");
  CHECK(complaint(infinity) == rule + "inf");
  CHECK(complaint(-infinity) == rule + "-inf");
  CHECK(complaint(std::numeric_limits<double>::quiet_NaN()) != "");
  for (const double slope : {0.0, 5e-324, 0.2, 1.0, 7.0}) CHECK(complaint(slope) == "");
}

TEST_CASE("options are a plain value") {
  STATIC_REQUIRE(std::is_trivially_copyable<Options>::value);
  Options copy = Options::pytorch();
  copy.epsilon = 0.5;
  const Options other = copy;
  CHECK(other.epsilon == 0.5);
  CHECK(Options::pytorch().epsilon == 1e-5);
}

TEST_CASE("rules and epilogues differ whichever stands first") {
  CHECK(RunningUpdate::take_new(0.75) != RunningUpdate::take_new(0.25));
  CHECK_FALSE(RunningUpdate::take_new(0.75) == RunningUpdate::take_new(0.25));
  CHECK_FALSE(RunningUpdate::take_new(0.25) == RunningUpdate::take_new(0.75));
  CHECK_FALSE(RunningUpdate::take_new(0.5) != RunningUpdate::keep_old(0.5));
  CHECK_FALSE(Epilogue::leaky_relu(0.02) == Epilogue::leaky_relu(0.01));
  CHECK_FALSE(Epilogue::leaky_relu(0.01) == Epilogue::leaky_relu(0.02));
  CHECK_FALSE(Epilogue::relu() != Epilogue::leaky_relu(0.0));
}

TEST_CASE("a rule without a weight has none, nor has one without a window a window") {
  for (const RunningUpdate& rule :
       {RunningUpdate::cumulative(), RunningUpdate::windowed(3), RunningUpdate::population()}) {
    CHECK(rule.new_weight() == 0.0);
  }
  for (const RunningUpdate& rule :
       {RunningUpdate::cumulative(), RunningUpdate::population(), RunningUpdate::take_new(0.5),
        RunningUpdate::keep_old(0.5), RunningUpdate::keep_old_debiased(0.5)}) {
    CHECK(rule.window() == 0);
  }
}

TEST_CASE("single values are pooled by the population rule alone") {
  Options options;
  options.single_value = SingleValue::update_only;
  for (const RunningUpdate& rule :
       {RunningUpdate::take_new(0.5), RunningUpdate::cumulative(), RunningUpdate::windowed(3),
        RunningUpdate::keep_old_debiased(0.5)}) {
    options.running = rule;
    CHECK_THROWS_WITH(validate(options),
                      "Options: SingleValue::update_only pools values, which have no variance: "
                      "expected Options::running = RunningUpdate::population(), got another rule");
  }
  options.running = RunningUpdate::population();
  CHECK_NOTHROW(validate(options));
  for (const SingleValue other : {SingleValue::reject, SingleValue::use_running_statistics}) {
    options.single_value = other;
    options.running = RunningUpdate::take_new(0.5);
    CHECK_NOTHROW(validate(options));
    options.running = RunningUpdate::population();
    CHECK_NOTHROW(validate(options));
  }
}

TEST_CASE("a slope must fit the type of gamma and beta, and options must be valid with it") {
  const Epilogue steep = Epilogue::leaky_relu(1e39);  // the largest float is 3.4e38
  CHECK_NOTHROW(detail::check_slope<double>("test", steep));
  CHECK_NOTHROW(detail::check_slope<float>("test", Epilogue::leaky_relu(1e38)));
  for (const auto check : {detail::check_slope<float>, detail::check_slope<Eigen::half>}) {
    CHECK_THROWS_WITH(check("test", steep),
                      "test: the slope below zero must fit the type of gamma and beta: expected a "
                      "number in its range, got 1e+39");
  }
  Options options;
  CHECK_NOTHROW(detail::validate_for<float>(options));
  options.epilogue = steep;
  CHECK_NOTHROW(detail::validate_for<double>(options));
  CHECK_THROWS_MATCHES(detail::validate_for<float>(options), std::invalid_argument,
                       says("Options: the slope below zero must fit"));
  options.epilogue = Epilogue::none();
  options.epsilon = -1.0;
  CHECK_THROWS_MATCHES(detail::validate_for<float>(options), std::invalid_argument,
                       says("Options: epsilon is added to a variance"));
}
