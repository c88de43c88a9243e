// SPDX-License-Identifier: MIT
// What the layer refuses: each with its message, and the layer and its inputs as they were.
#include "batchnorm/layer.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"
#include "support/unchanged.hpp"

using batchnorm::BatchNorm;
using batchnorm::BatchView;
using batchnorm::channels_first;
using batchnorm::examples_in_rows;
using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::moments_of;
using batchnorm::Options;
using batchnorm::RunningUpdate;
using batchnorm::State;
using batchnorm::with_residual;
using namespace batchnorm_test;

TEST_CASE("the number of channels", "[bad input]") {
  CHECK_THROWS_MATCHES(BatchNorm<float>(0), std::invalid_argument,
                       says("State: number of channels: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(BatchNorm<float>(-4), std::invalid_argument, says("got -4"));
  Unchanged test;
  Eigen::MatrixXf x = ramp(5, 8);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.train(x, x); },
      "BatchNorm::train: number of channels must be the layer's: expected 3, got 5");
  test.refuses<std::invalid_argument>([&] { test.layer.infer(x, x); }, "BatchNorm::infer: number");
  test.refuses<std::invalid_argument>([&] { test.layer.normalize(x, x); }, "BatchNorm::normalize");
  CHECK(x == ramp(5, 8));
}

TEST_CASE("a matrix that was meant transposed", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf examples_by_rows = ramp(8, 3);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.train(examples_by_rows); },
      "expected 3, got 8 (3 samples x 8 channels x 1 positions); the matrix looks transposed: a "
      "plain matrix is read as features x examples, pass examples_in_rows(matrix) when each row is "
      "an example");
  CHECK_NOTHROW(test.layer.train(examples_in_rows(examples_by_rows)));
}

TEST_CASE("shapes of input, output and gradients", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf x = ramp(3, 8);
  Eigen::MatrixXf y = ramp(3, 7);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.train(x, y); },
      "BatchNorm::train: shape of output must be that of input: expected 8 samples x 3 channels x "
      "1 positions, got 7 samples x 3 channels x 1 positions");
  const auto batch = moments_of(x);
  Eigen::MatrixXf dx(3, 8);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, x, y, dx); },
      "BatchNorm::backward: shape of output gradient must be that of input");
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, x, x, y); },
      "BatchNorm::backward: shape of input gradient must be that of input");
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward_frozen(x, y, dx); },
      "BatchNorm::backward_frozen: shape of output gradient must be that of input");
  CHECK(y == ramp(3, 7));
}

TEST_CASE("backward from the output refuses what backward refuses", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf y = ramp(3, 8), dx = ramp(3, 8), memory = ramp(3, 12);
  const auto batch = moments_of(y);
  const auto refused = [&](const auto& out, const auto& dy, auto&& in_gradient, const char* text) {
    test.refuses<std::invalid_argument>(
        [&] { test.layer.backward_from_output(batch, out, dy, in_gradient); },
        (std::string("BatchNorm::backward_from_output: ") + text).c_str());
  };
  refused(ramp(5, 8), y, dx, "number of channels must be the layer's: expected 3, got 5");
  refused(y, ramp(3, 7), dx, "shape of output gradient must be that of input: expected 8 samples");
  refused(y, y, memory.leftCols(7), "shape of input gradient must be that of input: expected 8");
  const char* partly = " must be the same memory or disjoint: expected no partial overlap, got";
  refused(memory.leftCols(8), y, memory.middleCols(1, 8),
          (std::string("input gradient and input") + partly).c_str());
  refused(y, memory.leftCols(8), memory.middleCols(1, 8),
          (std::string("input gradient and output gradient") + partly).c_str());
  refused(ramp(3, 9), ramp(3, 9), memory.leftCols(9),
          "the moments must be those of this input: expected moments of 9 values per channel, got "
          "moments of 8");
  test.layer.state().beta.resize(2);
  CHECK_THROWS_MATCHES(test.layer.backward_from_output(batch, y, y, dx), std::invalid_argument,
                       says("size of beta must be that of gamma: expected 3, got 2"));
  CHECK(dx == ramp(3, 8));
  CHECK(memory == ramp(3, 12));
}

TEST_CASE("memory that partly overlaps", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf memory = ramp(3, 12);
  const char* text = "must be the same memory or disjoint: expected no partial overlap, got memory";
  test.refuses<std::invalid_argument>(
      [&] { test.layer.train(memory.leftCols(8), memory.middleCols(1, 8)); }, text);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.infer(memory.leftCols(8), memory.rightCols(8)); }, text);
  Eigen::MatrixXf other = ramp(3, 8);
  const auto batch = moments_of(other);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, other, memory.leftCols(8), memory.middleCols(1, 8)); },
      text);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, memory.leftCols(8), other, memory.middleCols(1, 8)); },
      text);
  float sliding[10] = {};
  const BatchView<float> repeats(sliding, 8, 3, 1, 1, 1, 1);
  test.refuses<std::invalid_argument>([&] { test.layer.infer(other, repeats); },
                                      "elements of output must be distinct");
  CHECK(memory == ramp(3, 12));
}

TEST_CASE("a residual of another shape", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf x = ramp(3, 8), r = ramp(3, 7), out = ramp(3, 8), other = out;
  const std::string rule =
      "shape of residual must be that of input: expected 8 samples x 3 channels x 1 positions, got "
      "7 samples x 3 channels x 1 positions";
  const auto refused = [&](const char* function, const auto& call) {
    test.refuses<std::invalid_argument>(call, (function + (": " + rule)).c_str());
  };
  const auto batch = moments_of(x);
  refused("BatchNorm::train", [&] { test.layer.train(with_residual(x, r), out); });
  refused("BatchNorm::normalize", [&] { test.layer.normalize(with_residual(x, r), out); });
  refused("BatchNorm::infer", [&] { test.layer.infer(with_residual(x, r), out); });
  refused("BatchNorm::backward",
          [&] { test.layer.backward(batch, with_residual(x, r), x, with_residual(out, other)); });
  refused("BatchNorm::backward_frozen",
          [&] { test.layer.backward_frozen(with_residual(x, r), x, with_residual(out, other)); });
  Eigen::MatrixXf seven = ramp(3, 7);
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, with_residual(x, x), x, with_residual(out, seven)); },
      "BatchNorm::backward: shape of residual gradient must be that of input: expected 8 samples");
  CHECK(out == ramp(3, 8));
  CHECK(other == ramp(3, 8));
  CHECK(seven == ramp(3, 7));
}

TEST_CASE("residuals and gradients that overlap", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf memory = ramp(3, 12), x = ramp(3, 8), out = x;
  const auto batch = moments_of(x);
  const auto left = memory.leftCols(8);
  auto shifted = memory.middleCols(1, 8);
  const auto partly = [&](const std::string& names, const auto& call) {
    test.refuses<std::invalid_argument>(
        call, (names + " must be the same memory or disjoint: expected no partial overlap, got "
                       "memory that partly overlaps")
                  .c_str());
  };
  partly("BatchNorm::train: output and residual",
         [&] { test.layer.train(with_residual(x, left), shifted); });
  partly("BatchNorm::infer: output and residual",
         [&] { test.layer.infer(with_residual(x, left), shifted); });
  partly("BatchNorm::backward: input gradient and residual", [&] {
    test.layer.backward(batch, with_residual(x, left), x, with_residual(shifted, out));
  });
  partly("BatchNorm::backward: residual gradient and residual", [&] {
    test.layer.backward(batch, with_residual(x, left), x, with_residual(out, shifted));
  });
  partly("BatchNorm::backward_frozen: residual gradient and output gradient", [&] {
    test.layer.backward_frozen(with_residual(x, x), left, with_residual(out, shifted));
  });
  const char* rule =
      "BatchNorm::backward: input gradient and residual gradient must be disjoint: expected no "
      "overlap, got memory that overlaps";
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(batch, with_residual(x, x), x, with_residual(out, out)); }, rule);
  test.refuses<std::invalid_argument>(
      [&] {
        test.layer.backward(batch, with_residual(x, x), x,
                            with_residual(memory.leftCols(8), shifted));
      },
      rule);
  CHECK(memory == ramp(3, 12));
  CHECK(x == ramp(3, 8));
  CHECK(out == ramp(3, 8));
}

TEST_CASE("residuals where there is no place for one", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf x = ramp(3, 8), out = x, other = x;
  const auto batch = moments_of(x);
  const auto refused = [&](const char* text, const auto& call) {
    test.refuses<std::invalid_argument>(call, text);
  };
  refused(
      "BatchNorm::backward: an input with a residual has gradients with a residual: expected "
      "with_residual(dx, dr) for with_residual(x, r), got one output",
      [&] { test.layer.backward(batch, with_residual(x, x), x, out); });
  refused(
      "BatchNorm::backward_frozen: an input with a residual has gradients with a residual: "
      "expected dx for x, got two outputs",
      [&] { test.layer.backward_frozen(x, x, with_residual(out, other)); });
  refused("BatchNorm::backward: an output has one gradient: expected dy, got with_residual of two",
          [&] { test.layer.backward(batch, x, with_residual(x, x), out); });
  refused(
      "BatchNorm::backward_from_output: the output of a layer cannot be undone where a residual "
      "was added: expected the output, got with_residual",
      [&] { test.layer.backward_from_output(batch, with_residual(x, x), x, out); });
  CHECK(out == ramp(3, 8));
  CHECK(other == ramp(3, 8));
}

TEST_CASE("null data", "[bad input]") {
  float* null = nullptr;
  CHECK_THROWS_MATCHES(
      channels_first(null, 2, 3, 4), std::invalid_argument,
      says("BatchView: data of a view that is not empty: expected a pointer to its elements, got "
           "null for 24 elements"));
  CHECK_NOTHROW(channels_first(null, 0, 3, 4));
}

TEST_CASE("a channel without variance when epsilon is zero", "[bad input]") {
  Options options;
  options.epsilon = 0.0;
  Unchanged test(options);
  Eigen::MatrixXf x = ramp(3, 8);
  x.row(1).setConstant(0.1f);
  const Eigen::MatrixXf before = x;
  const char* text =
      "variance + epsilon of channel 1 is divided by: expected a number larger than 0; choose an "
      "epsilon larger than 0, got 0";
  test.refuses<std::domain_error>([&] { test.layer.train(x, x); }, text);
  CHECK(x == before);
  const auto batch = moments_of(x);
  test.refuses<std::domain_error>([&] { test.layer.backward(batch, x, x, x); }, text);
  test.layer.state().running_variance[1] = 0.0f;
  CHECK_THROWS_MATCHES(test.layer.infer(x, x), std::domain_error, says(text));
  CHECK(x == before);
  CHECK_NOTHROW(BatchNorm<float>(3).train(x, x));
}

TEST_CASE("epsilon that is no epsilon", "[bad input]") {
  for (const double epsilon :
       {-1e-5, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Options options;
    options.epsilon = epsilon;
    CHECK_THROWS_MATCHES(BatchNorm<float>(3, options), std::invalid_argument,
                         says("Options: epsilon is added to a variance: expected a finite number"));
    CHECK_THROWS_AS(BatchNorm<float>(State<float>(3), options), std::invalid_argument);
  }
}

TEST_CASE("moments that are not those of the input", "[bad input]") {
  Unchanged test;
  Eigen::MatrixXf x = ramp(3, 8);
  const Moments<double> narrow = moments_of(ramp(2, 8));
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(narrow, x, x, x); },
      "BatchNorm::backward: number of channels of the moments must be the layer's: expected 3");
  test.refuses<std::invalid_argument>([&] { test.layer.commit(narrow); },
                                      "BatchNorm::commit: number of channels of the moments");
  const Moments<double> shorter = moments_of(ramp(3, 7));
  test.refuses<std::invalid_argument>(
      [&] { test.layer.backward(shorter, x, x, x); },
      "BatchNorm::backward: the moments must be those of this input: expected moments of 8 values "
      "per channel, got moments of 7");
  Moments<double> impossible = moments_of(x);
  impossible.sum_of_squares[2] = -1e-300;
  test.refuses<std::domain_error>([&] { test.layer.commit(impossible); },
                                  "sum of squares of channel 2: expected zero or larger");
  impossible = moments_of(x);
  impossible.count = -8;
  test.refuses<std::invalid_argument>([&] { test.layer.commit(impossible); },
                                      "count of the moments: expected zero or more, got -8");
  CHECK(x == ramp(3, 8));
}

TEST_CASE("a commit that overflows changes no channel", "[bad input]") {
  Options options;
  options.running = RunningUpdate::take_new(0.5);
  BatchNorm<float> layer(2, options);
  layer.train((Eigen::MatrixXf(2, 2) << 1, 3, 1, 3).finished());
  layer.state().running_mean[1] = (std::numeric_limits<float>::max)();
  const State<float> before = layer.state();
  // The mean of channel 1 stays finite; its variance is finite in float before the n / (n - 1).
  Moments<double> batch(2);
  batch.count = 2;
  batch.mean << 5.0, 3e38;
  batch.sum_of_squares << 2.0, 6e38;
  CHECK_THROWS_MATCHES(layer.commit(batch), std::domain_error, says("in channel 1"));
  CHECK(layer.state().running_mean == before.running_mean);
  CHECK(layer.state().running_variance == before.running_variance);
  CHECK(layer.state().batches_seen == before.batches_seen);
}

TEST_CASE("the population rule needs to know what came before", "[bad input]") {
  Options options;
  options.running = RunningUpdate::population();
  State<float> state(3);
  state.batches_seen = 10;
  BatchNorm<float> layer(state, options);
  Eigen::MatrixXf x = ramp(3, 8);
  CHECK_THROWS_MATCHES(layer.train(x, x), std::domain_error,
                       says("the population rule weighs by samples seen"));
  CHECK(x == ramp(3, 8));
  CHECK(layer.state().batches_seen == 10);
}

TEST_CASE("a state spoilt from outside is noticed by the next call", "[bad input]") {
  BatchNorm<float> layer(3);
  Eigen::MatrixXf x = ramp(3, 8);
  layer.train(x);
  layer.state().beta.resize(2);
  CHECK_THROWS_MATCHES(layer.train(x, x), std::invalid_argument,
                       says("size of beta must be that of gamma: expected 3, got 2"));
  CHECK_THROWS_AS(layer.infer(x, x), std::invalid_argument);
  layer.state() = State<float>(3);
  layer.state().running_variance[0] = -1.0f;
  CHECK_THROWS_MATCHES(layer.infer(x, x), std::domain_error,
                       says("BatchNorm::infer: running variance of channel 0: expected zero or"));
  CHECK(x == ramp(3, 8));
}
