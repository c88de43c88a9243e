// SPDX-License-Identifier: MIT
#include "batchnorm/frozen.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchNorm;
using batchnorm::FrozenBatchNorm;
using batchnorm::Index;
using batchnorm::masked;
using batchnorm::MaskedOutput;
using batchnorm::Options;
using batchnorm::State;
using batchnorm::with_residual;
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
      frozen(with_residual(x, memory), y), std::invalid_argument,
      says("FrozenBatchNorm: shape of residual must be that of input: expected 6 samples x 4 "
           "channels x 1 positions, got 9 samples x 4 channels x 1 positions"));
  CHECK_THROWS_MATCHES(
      frozen(with_residual(x, memory.leftCols(6)), memory.rightCols(6)), std::invalid_argument,
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
  frozen(with_residual(x, residual), y);
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

TEST_CASE("statistics that were assigned to a layer are taken for what they are", "[frozen]") {
  BatchNorm<float> layer(2);
  State<float> loaded(2);  // of data with mean 0 and variance 1, by a system that does not count
  loaded.gamma << 2.0f, 3.0f;
  loaded.batches_seen = State<float>::unknown;
  layer.state() = loaded;
  CHECK(layer.freeze().scale().isApprox(loaded.gamma, 1e-4f));
  loaded.batches_seen = 0;
  layer.state() = loaded;
  CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error,
                       says("where they are meant, set state().batches_seen to what they come "
                            "from, or to State::unknown"));
}

TEST_CASE("numbers that are not finite are refused, naming the channel", "[frozen]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  Options options, propagate;
  propagate.non_finite = batchnorm::NonFinite::propagate;
  const auto refused = [&](const State<float>& state, const std::string& what) {
    const std::string rule = what + " of channel 1: expected a finite number, got NaN, infinity or";
    CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(state, options), std::domain_error,
                         says("FrozenBatchNorm: " + rule));
    const BatchNorm<float> layer(state, options);
    CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error, says("BatchNorm::freeze: " + rule));
    Eigen::MatrixXf x = Eigen::MatrixXf::Ones(3, 2);
    CHECK_THROWS_MATCHES(layer.infer(x, x), std::domain_error, says("BatchNorm::infer: " + rule));
    CHECK(x == Eigen::MatrixXf::Ones(3, 2));
    // What is not finite is to be seen: in its channel, and in no other.
    const Eigen::MatrixXf y = FrozenBatchNorm<float>(state, propagate)(x);
    CHECK(std::isfinite(y(0, 0)));
    CHECK_FALSE(std::isfinite(y(1, 0)));
    CHECK(std::isfinite(y(2, 1)));
  };
  for (const float bad : {nan, infinity, -infinity}) {
    State<float> state(3);
    state.running_mean.setConstant(5.0);
    state.gamma[1] = bad;
    refused(state, "gamma");
    state.gamma[1] = 1.0f;
    state.beta[1] = bad;
    refused(state, "beta");
  }
  State<float> steep(3);
  steep.running_mean.setConstant(5.0);
  steep.gamma[1] = 3e38f;
  steep.running_variance[1] = 1e-4;  // a scale of 3e40
  refused(steep, "gamma / sqrt(variance + epsilon)");
  steep.running_variance[1] = 4.0;  // 1.5e38 fits
  CHECK_NOTHROW(FrozenBatchNorm<float>(steep, options));
  options.epsilon = 0.0;
  steep.gamma[1] = 1e-10f;
  steep.running_variance[1] = 1e-60;  // 1e20
  CHECK_NOTHROW(FrozenBatchNorm<float>(steep, options));

  State<double> wide(1);
  wide.gamma[0] = 1e300;
  wide.running_variance[0] = 0.0;
  options.epsilon = 1e-20;
  CHECK_THROWS_MATCHES(FrozenBatchNorm<double>(wide, options), std::domain_error,
                       says("gamma / sqrt(variance + epsilon) of channel 0"));
}

TEST_CASE("what the options leave out is not looked at", "[frozen]") {
  State<float> state(1);
  state.running_mean[0] = 1.0;
  state.gamma[0] = std::numeric_limits<float>::quiet_NaN();
  Options options;
  options.scale = false;
  CHECK_NOTHROW(FrozenBatchNorm<float>(state, options));
  state.beta[0] = state.gamma[0];
  CHECK_THROWS_AS(FrozenBatchNorm<float>(state, options), std::domain_error);
  options.shift = false;
  CHECK_NOTHROW(FrozenBatchNorm<float>(state, options));
}

TEST_CASE("a frozen layer from scale and shift alone", "[frozen]") {
  const auto frozen = FrozenBatchNorm<float>::from_scale_and_shift(Eigen::Vector2d(2.0, -0.5),
                                                                   Eigen::RowVector2f(1.0f, 3.0f));
  CHECK(frozen.channels() == 2);
  CHECK(frozen.scale() == Eigen::Vector2f(2.0f, -0.5f));
  CHECK(frozen.pivot() == Eigen::Vector2f(0.0f, 0.0f));
  CHECK(frozen(Eigen::Vector2f(4.0f, 8.0f)) == Eigen::Vector2f(9.0f, -1.0f));
  const auto rectified = FrozenBatchNorm<Eigen::half, 2>::from_scale_and_shift(
      Eigen::Vector2f(2.0f, -0.5f), Eigen::Vector2f(1.0f, 3.0f), batchnorm::Epilogue::relu());
  const Eigen::Matrix<Eigen::half, 2, 1> x(Eigen::half(4.0f), Eigen::half(8.0f));
  const auto y = rectified(x);
  CHECK(static_cast<float>(y[0]) == 9.0f);
  CHECK(static_cast<float>(y[1]) == 0.0f);

  using Frozen = FrozenBatchNorm<float>;
  const std::string function = "FrozenBatchNorm::from_scale_and_shift: ";
  CHECK_THROWS_MATCHES(
      Frozen::from_scale_and_shift(Eigen::Vector2f(1, 1), Eigen::Vector3f(1, 1, 1)),
      std::invalid_argument,
      says(function + "size of shift must be that of scale: expected 2, got 3"));
  CHECK_THROWS_MATCHES(Frozen::from_scale_and_shift(Eigen::VectorXf(0), Eigen::VectorXf(0)),
                       std::invalid_argument, says(function + "number of channels"));
  CHECK_THROWS_MATCHES((FrozenBatchNorm<float, 3>::from_scale_and_shift(Eigen::VectorXf::Ones(2),
                                                                        Eigen::VectorXf::Ones(2))),
                       std::invalid_argument, says("fixed by the type: expected 3, got 2"));
  CHECK_THROWS_MATCHES(Frozen::from_scale_and_shift(Eigen::Vector2f(1, 1), Eigen::Vector2f(1, 1),
                                                    batchnorm::Epilogue::leaky_relu(1e300)),
                       std::invalid_argument,
                       says(function + "the slope below zero must fit the type"));
  CHECK_THROWS_MATCHES(
      Frozen::from_scale_and_shift(Eigen::Vector2d(1, 1e39), Eigen::Vector2d(1, 1)),
      std::domain_error, says(function + "scale of channel 1: expected a finite number"));
  CHECK_THROWS_MATCHES(
      Frozen::from_scale_and_shift(Eigen::Vector2d(1, 1), Eigen::Vector2d(std::nan(""), 1)),
      std::domain_error, says(function + "shift of channel 0: expected a finite number"));
}

TEST_CASE("layers may be members that are assigned to later", "[frozen]") {
  struct Net {
    BatchNorm<float> norm;
    FrozenBatchNorm<float> frozen;
    FrozenBatchNorm<float, 3> fixed;
  };
  Net net;
  CHECK(net.norm.channels() == 0);
  CHECK(net.frozen.channels() == 0);
  CHECK(net.fixed.channels() == 0);
  Eigen::MatrixXf x = Eigen::MatrixXf::Identity(3, 4);
  const std::string empty =
      "FrozenBatchNorm: a layer made without a state, or moved from, is empty until one is "
      "assigned: expected one of BatchNorm::freeze() or "
      "FrozenBatchNorm(state, options), got an empty one";
  CHECK_THROWS_MATCHES(net.frozen(x), std::invalid_argument, says(empty));
  CHECK_THROWS_MATCHES(net.fixed(x, x), std::invalid_argument, says(empty));
  const auto refused = [&](const std::string& function, const auto& call) {
    CHECK_THROWS_MATCHES(call(), std::invalid_argument,
                         says("BatchNorm::" + function +
                              ": number of channels: expected at least 1, got 0; a layer or state "
                              "made without a number of channels is empty until one is assigned to "
                              "it, such as BatchNorm<T>(channels)"));
  };
  const auto batch = batchnorm::moments_of(x);
  refused("train", [&] { net.norm.train(x, x); });
  refused("train", [&] { net.norm.train(x); });
  refused("normalize", [&] { net.norm.normalize(x, x); });
  refused("normalize", [&] { net.norm.normalize(batch, x, x); });
  refused("commit", [&] { net.norm.commit(batch); });
  refused("infer", [&] { net.norm.infer(x, x); });
  refused("freeze", [&] { static_cast<void>(net.norm.freeze()); });
  refused("backward", [&] { net.norm.backward(batch, x, x, x); });
  refused("backward_frozen", [&] { net.norm.backward_frozen(x, x, x); });
  refused("backward_from_output", [&] { net.norm.backward_from_output(batch, x, x, x); });
  refused("backward_sums", [&] { static_cast<void>(net.norm.backward_sums(batch, x, x)); });
  CHECK(x == Eigen::MatrixXf::Identity(3, 4));

  net.norm = BatchNorm<float>(3);
  net.norm.train(x);
  net.frozen = net.norm.freeze();
  CHECK(net.frozen(x) == net.norm.infer(x));
  net.fixed = FrozenBatchNorm<float, 3>(net.norm.state().cast<float, 3>(), net.norm.options());
  CHECK(net.fixed.channels() == 3);
  CHECK(net.fixed(x) == net.frozen(x));
}

TEST_CASE("a residual is said at the input", "[frozen]") {
  const FrozenBatchNorm<float> frozen(some_state<float>(6, 4), Options());
  const Eigen::MatrixXf x = Eigen::MatrixXf::Constant(4, 5, 2.5f);
  const Eigen::MatrixXf r = Eigen::MatrixXf::Constant(4, 5, 0.5f);
  Eigen::MatrixXf expected(4, 5);
  frozen(with_residual(x, r), expected);
  CHECK(expected == Eigen::MatrixXf(frozen(x) + r));
  CHECK(frozen(with_residual(x, r)) == expected);
  Eigen::MatrixXf in_place = r;
  frozen(with_residual(x, in_place), in_place);
  CHECK(in_place == expected);
  CHECK(frozen(with_residual(Eigen::MatrixXf(x), r * 1.0f)) == expected);
}

TEST_CASE("a frozen layer is a plain value", "[frozen]") {
  std::vector<FrozenBatchNorm<float>> layers(2, {some_state<float>(5, 3), Options()});
  const Eigen::Vector3f x(1, 2, 3);
  const Eigen::VectorXf y = layers[0](x);
  layers[1] = std::move(layers[0]);
  CHECK(layers[1](x) == y);
  const FrozenBatchNorm<float> taken = std::move(layers[1]);
  CHECK(taken(x) == y);
  CHECK(layers[1].channels() == 0);  // NOLINT: what a layer that was moved from says
  CHECK_THROWS_MATCHES(layers[1](x), std::invalid_argument, says("got an empty one"));
}

TEMPLATE_TEST_CASE("the three numbers per channel begin with a cache line, copied and moved too",
                   "[frozen]", float, double, Eigen::bfloat16) {
  using Layer = FrozenBatchNorm<TestType>;
  const auto check = [](const Layer& layer) {
    for (const auto& numbers : {layer.pivot(), layer.scale(), layer.shift()}) {
      REQUIRE(numbers.size() == 37);
      CHECK(reinterpret_cast<std::uintptr_t>(numbers.data()) % 64 == 0);
    }
    for (Index c = 0; c < 37; ++c) {
      CHECK(layer.pivot()[c] == 0);
      CHECK(static_cast<Index>(layer.scale()[c]) == c + 1);
      CHECK(static_cast<Index>(layer.shift()[c]) == 2 * c);
    }
  };
  Eigen::VectorXd scale(37), shift(37);
  for (Index c = 0; c < 37; ++c) {
    scale[c] = static_cast<double>(c + 1);
    shift[c] = static_cast<double>(2 * c);
  }
  Layer first = Layer::from_scale_and_shift(scale, shift);
  check(first);
  Layer second = first;
  check(second);
  const Layer third = std::move(first);
  check(third);
  CHECK(first.pivot().size() == 0);  // NOLINT: what a layer that was moved from says
  second = Layer();
  CHECK(second.channels() == 0);
  CHECK(second.shift().size() == 0);
  second = third;
  check(second);
}

TEST_CASE("the numbers of a layer that goes away are copied") {
  State<float> state(2);
  state.running_mean << 3, 0;
  const Options options;
  const auto pivot = FrozenBatchNorm<float>(state, options).pivot();
  static_assert(std::is_same_v<decltype(pivot), const Eigen::VectorXf>);
  CHECK(pivot == Eigen::Vector2f(3, 0));
  CHECK(FrozenBatchNorm<float>().scale().size() == 0);
  CHECK(FrozenBatchNorm<float>().shift().size() == 0);
}

TEST_CASE("a mask decides on the output of one example, too") {
  State<float> state(40);
  state.running_mean.setConstant(1);
  const FrozenBatchNorm<float> frozen(state, Options());
  const Eigen::VectorXf x = Eigen::VectorXf::Constant(40, 3);
  const Eigen::Array<bool, 1, 1> none(false);
  Eigen::VectorXf y(40);
  frozen(masked(x, none, MaskedOutput::zero), y);
  CHECK(y.isZero(0));
  frozen(masked(x, none, MaskedOutput::keep), y);
  CHECK(y == x);
  frozen(masked(x, none), y);
  CHECK(y == frozen(x));
}
