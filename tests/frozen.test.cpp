// SPDX-License-Identifier: MIT
#include "batchnorm/frozen.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/instances.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchNorm;
using batchnorm::FrozenBatchNorm;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
using namespace batchnorm_test;

namespace {

template <class T>
State<T> some_state(std::uint64_t seed, Index channels) {
  Random random(seed);
  State<T> state(channels);
  for (Index c = 0; c < channels; ++c) {
    using P = batchnorm::parameter_t<T>;
    state.gamma[c] = static_cast<P>(random.uniform(-2, 2));
    state.beta[c] = static_cast<P>(random.uniform(-2, 2));
    state.running_mean[c] = static_cast<P>(random.uniform(-1e3, 1e3));
    state.running_variance[c] = static_cast<P>(random.uniform(0.1, 9));
  }
  return state;
}

reference::Layer oracle_of(const State<double>& state, double epsilon) {
  reference::Layer oracle{{}, {}, {}, {}, epsilon};
  for (Index c = 0; c < state.channels(); ++c) {
    oracle.gamma.push_back(state.gamma[c]);
    oracle.beta.push_back(state.beta[c]);
    oracle.mu.push_back(state.running_mean[c]);
    oracle.sigma2.push_back(state.running_variance[c]);
  }
  return oracle;
}

}  // namespace

TEST_CASE("one example is normalised with the running statistics", "[frozen]") {
  const State<double> state = some_state<double>(1, 37);
  Options options;
  options.epsilon = 1e-3;
  const FrozenBatchNorm<double> frozen(state, options);
  Random random(2);
  for (const Layout layout : all_layouts) {
    for (const Size samples : {1u, 5u}) {
      INFO(name_of(layout) << ", " << samples);
      const Batch x = stored_as<double>(normal_batch(random, samples, 37, 3, 100, 50));
      const Stored<double> in(x, layout);
      Stored<double> out = Stored<double>::like(x, layout);
      frozen(in.view(), out.view());
      const Batch expected = reference::forward(oracle_of(state, 1e-3), x);
      const Batch got = out.read();
      got.each([&](Size n, Size c, Size p) {
        CHECK(std::fabs(got.at(n, c, p) - expected.at(n, c, p)) <=
              1e-13L * (1 + std::fabs(expected.at(n, c, p))));
      });
      CHECK(out.gaps_are_untouched());
    }
  }
}

TEST_CASE("its numbers are those of the map", "[frozen]") {
  State<float> state(2);
  state.gamma << 6.0f, 1.0f;
  state.beta << -1.0f, 0.5f;
  state.running_mean << 3.0f, 0.0f;
  state.running_variance << 3.25f, 0.25f;
  Options options;
  options.epsilon = 0.75;
  const FrozenBatchNorm<float> frozen(state, options);
  CHECK(frozen.channels() == 2);
  CHECK(frozen.pivot() == Eigen::Vector2f(3.0f, 0.0f));
  CHECK(frozen.scale() == Eigen::Vector2f(3.0f, 1.0f));
  CHECK(frozen.shift() == Eigen::Vector2f(-1.0f, 0.5f));
  const Eigen::VectorXf y = frozen(Eigen::Vector2f(4.0f, 2.0f));
  CHECK(y == Eigen::Vector2f(2.0f, 2.5f));
}

TEST_CASE("it stays as it was when the layer trains on", "[frozen]") {
  BatchNorm<float> layer(2);
  Eigen::MatrixXf x(2, 3);
  x << 1, 2, 4, -1, 0, 5;
  layer.train(x);
  const FrozenBatchNorm<float> frozen = layer.freeze();
  const Eigen::MatrixXf before = frozen(x);
  layer.train(x * 10);
  layer.state().gamma.setZero();
  CHECK(frozen(x) == before);
  CHECK(layer.infer(x) != before);
}

TEST_CASE("a frozen layer in place", "[frozen]") {
  const FrozenBatchNorm<float> frozen(some_state<float>(3, 4), Options());
  Eigen::MatrixXf x = Eigen::MatrixXf::Constant(4, 9, 2.5f);
  const Eigen::MatrixXf expected = frozen(x);
  frozen(x, x);
  CHECK(x == expected);
}

TEST_CASE("a frozen layer refuses what does not fit", "[frozen]") {
  const FrozenBatchNorm<float> frozen(some_state<float>(4, 4), Options());
  Eigen::MatrixXf x(4, 6);
  x.setZero();
  Eigen::MatrixXf y(4, 5);
  CHECK_THROWS_MATCHES(
      frozen(x, y), std::invalid_argument,
      says("FrozenBatchNorm: shape of output must be that of input: expected 6 samples x 4 "
           "channels x 1 positions, got 5 samples x 4 channels x 1 positions"));
  CHECK_THROWS_MATCHES(frozen(y.transpose()), std::invalid_argument,
                       says("pass examples_in_rows(matrix) when each row is an example"));
  CHECK_THROWS_MATCHES(
      frozen(x.leftCols(4), x.rightCols(4)), std::invalid_argument,
      says("output and input must be the same memory or disjoint: expected no partial overlap"));
  Eigen::MatrixXf empty(4, 0);
  CHECK_NOTHROW(frozen(empty, empty));
}

TEST_CASE("a frozen layer refuses a residual that does not fit", "[frozen]") {
  const FrozenBatchNorm<float> frozen(some_state<float>(4, 4), Options());
  Eigen::MatrixXf x = Eigen::MatrixXf::Zero(4, 6), y = x, memory = Eigen::MatrixXf::Ones(4, 9);
  CHECK_THROWS_MATCHES(
      frozen(x, memory, y), std::invalid_argument,
      says("FrozenBatchNorm: shape of residual must be that of input: expected 6 samples x 4 "
           "channels x 1 positions, got 9 samples x 4 channels x 1 positions"));
  CHECK_THROWS_MATCHES(
      frozen(x, memory.leftCols(6), memory.rightCols(6)), std::invalid_argument,
      says("FrozenBatchNorm: output and residual must be the same memory or disjoint: expected no "
           "partial overlap, got memory that partly overlaps"));
  CHECK((y.array() == 0.0f).all());
  CHECK((memory.array() == 1.0f).all());
}

TEST_CASE("a frozen layer knows its epilogue", "[frozen]") {
  Options options;
  options.epsilon = 0.75;
  options.epilogue = batchnorm::Epilogue::leaky_relu(0.25);
  State<float> state(1);
  state.gamma[0] = 6.0f;
  state.beta[0] = -1.0f;
  state.running_variance[0] = 3.25f;
  const FrozenBatchNorm<float> frozen(state, options);
  CHECK(frozen.epilogue() == options.epilogue);
  const Eigen::RowVector2f x(1.0f, -1.0f), residual(1.0f, 2.0f);
  Eigen::RowVector2f y;
  frozen(x, y);
  CHECK(y == Eigen::RowVector2f(2.0f, -1.0f));
  frozen(x, residual, y);
  CHECK(y == Eigen::RowVector2f(3.0f, -0.5f));
}

TEST_CASE("freezing needs statistics that come from somewhere", "[frozen]") {
  BatchNorm<float> layer(3);
  const char* text =
      "BatchNorm::freeze: the running statistics must come from data: expected a layer that has "
      "trained on a minibatch or was given its state, got those of a new layer, mean 0 and "
      "variance 1";
  CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error, says(text));
  CHECK_THROWS_MATCHES(layer.infer(Eigen::MatrixXf::Zero(3, 1)), std::domain_error,
                       says("BatchNorm::infer: the running statistics must come from data"));
  layer.state().gamma.setConstant(2.0f);
  CHECK_THROWS_AS(layer.freeze(), std::domain_error);
  CHECK_NOTHROW(BatchNorm<float>(State<float>(3), Options()).freeze());
  BatchNorm<float> loaded(3);
  loaded.state().running_variance[2] = 4.0f;
  CHECK_NOTHROW(loaded.freeze());
  layer.train(Eigen::MatrixXf::Identity(3, 3));
  CHECK_NOTHROW(layer.freeze());
}

TEST_CASE("a state that no data can have is refused", "[frozen]") {
  State<float> state(3);
  state.running_variance[1] = -1e-9f;
  CHECK_THROWS_MATCHES(
      FrozenBatchNorm<float>(state, Options()), std::domain_error,
      says("FrozenBatchNorm: running variance of channel 1: expected zero or larger"));
  state.running_variance[1] = 0.0f;
  Options without_epsilon;
  without_epsilon.epsilon = 0.0;
  CHECK_NOTHROW(FrozenBatchNorm<float>(state, Options()));
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(state, without_epsilon), std::domain_error,
                       says("variance + epsilon of channel 1 is divided by"));
  state.beta.resize(2);
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(state, Options()), std::invalid_argument,
                       says("size of beta must be that of gamma: expected 3, got 2"));
  Options negative;
  negative.epsilon = -1e-5;
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(State<float>(3), negative), std::invalid_argument,
                       says("epsilon"));
}

TEST_CASE("a frozen layer is a plain value", "[frozen]") {
  std::vector<FrozenBatchNorm<float>> layers(2, {some_state<float>(5, 3), Options()});
  const Eigen::Vector3f x(1, 2, 3);
  const Eigen::VectorXf y = layers[0](x);
  layers[1] = std::move(layers[0]);
  CHECK(layers[1](x) == y);
}
