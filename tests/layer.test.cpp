// SPDX-License-Identifier: MIT
#include "batchnorm/layer.hpp"

#include <stdexcept>
#include <type_traits>

#include "support/catch.hpp"

using batchnorm::BatchNorm;
using batchnorm::examples_in_columns;
using batchnorm::examples_in_rows;
using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::RunningUpdate;
using batchnorm::SingleValue;
using batchnorm::State;
using namespace batchnorm_test;

namespace {

/// Two channels with mean 10 and -1 and population variance 4 and 0.25, in 4 examples.
Eigen::MatrixXd two_channels() {
  return (Eigen::MatrixXd(2, 4) << 8, 12, 8, 12, -0.5, -1.5, -1.5, -0.5).finished();
}

Options exact_options() {
  Options options;
  options.epsilon = 0.0;
  options.running = RunningUpdate::take_new(0.25);
  return options;
}

Eigen::MatrixXd normalised() {
  return (Eigen::MatrixXd(2, 4) << -1, 1, -1, 1, 1, -1, -1, 1).finished();
}

}  // namespace

TEST_CASE("train normalises with the minibatch and moves the running statistics", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  Eigen::MatrixXd y(2, 4);
  const auto batch = layer.train(two_channels(), y);
  CHECK(y == normalised());
  CHECK(batch.count == 4);
  CHECK(batch.mean == Eigen::Vector2d(10, -1));
  CHECK(batch.sum_of_squares == Eigen::Vector2d(16, 1));
  CHECK(layer.state().running_mean == Eigen::Vector2d(2.5, -0.25));
  // 1 + (s - 1) / 4 with the sample variances s = 16 / 3 and 1 / 3.
  CHECK_THAT(layer.state().running_variance[0], Catch::Matchers::WithinULP(25.0 / 12.0, 2));
  CHECK_THAT(layer.state().running_variance[1], Catch::Matchers::WithinULP(10.0 / 12.0, 2));
  CHECK(layer.state().batches_seen == 1);
  CHECK(layer.state().samples_seen == 4);
}

TEST_CASE("train without an output returns one of the input's kind", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  const auto [y, batch] = layer.train(two_channels());
  static_assert(std::is_same<std::remove_const_t<decltype(y)>, Eigen::MatrixXd>::value, "");
  CHECK(y == normalised());

  const Eigen::Matrix<double, Eigen::Dynamic, 2, Eigen::RowMajor> rows = two_channels().transpose();
  const auto [by_rows, same] = layer.train(examples_in_rows(rows));
  static_assert(std::is_same<std::remove_const_t<decltype(by_rows)>,
                             Eigen::Matrix<double, Eigen::Dynamic, 2, Eigen::RowMajor>>::value,
                "");
  CHECK(by_rows == normalised().transpose());
  CHECK(same.mean == batch.mean);
}

TEST_CASE("normalize and commit are the two halves of train", "[layer]") {
  BatchNorm<double> whole(2, exact_options());
  BatchNorm<double> halves(2, exact_options());
  const State<double> before = halves.state();
  Eigen::MatrixXd y(2, 4);
  whole.train(two_channels(), y);

  Eigen::MatrixXd first(2, 4);
  const auto batch = halves.normalize(two_channels(), first);
  CHECK(first == y);
  CHECK(halves.state().running_mean == before.running_mean);
  CHECK(halves.state().batches_seen == 0);
  halves.commit(batch);
  CHECK(halves.state().running_mean == whole.state().running_mean);
  CHECK(halves.state().running_variance == whole.state().running_variance);
  CHECK(halves.state().batches_seen == 1);
  CHECK(halves.state().samples_seen == 4);
}

TEST_CASE("gamma and beta scale and shift", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  layer.state().gamma << 3, -2;
  layer.state().beta << 1, 0.5;
  const auto [y, batch] = layer.train(two_channels());
  CHECK(y.row(0) == Eigen::RowVector4d(-2, 4, -2, 4));
  CHECK(y.row(1) == Eigen::RowVector4d(-1.5, 2.5, 2.5, -1.5));
}

TEST_CASE("infer normalises with the running statistics, any number of examples", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  layer.state().running_mean << 10, -1;
  layer.state().running_variance << 4, 0.25;
  CHECK(layer.infer(two_channels()) == normalised());
  const Eigen::VectorXd one = layer.infer(two_channels().col(1));
  CHECK(one == normalised().col(1));
  Eigen::MatrixXd y(2, 4);
  layer.infer(two_channels(), y, Execution::serial());
  CHECK(y == normalised());
  CHECK(layer.freeze()(two_channels()) == y);
}

TEST_CASE("an output may be a block, a map or its own input", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  Eigen::MatrixXd large = Eigen::MatrixXd::Zero(5, 7);
  layer.train(two_channels(), large.block(2, 1, 2, 4));
  CHECK(large.block(2, 1, 2, 4) == normalised());
  CHECK(large.array().abs().sum() == 8.0);

  Eigen::MatrixXd x = two_channels();
  layer.train(x, Eigen::Map<Eigen::MatrixXd>(x.data(), 2, 4));
  CHECK(x == normalised());

  Eigen::Matrix<double, 2, 4, Eigen::RowMajor> other_order;
  layer.train(two_channels(), other_order);
  CHECK(other_order == normalised());
}

TEST_CASE("an empty minibatch gives an empty output and changes nothing", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  Eigen::MatrixXd none(2, 0);
  const auto [y, batch] = layer.train(none);
  CHECK(y.rows() == 2);
  CHECK(y.cols() == 0);
  CHECK(batch.count == 0);
  CHECK(layer.state().batches_seen == 0);
  CHECK(layer.state().running_variance == Eigen::Vector2d(1, 1));
  layer.commit(batch);
  CHECK(layer.state().batches_seen == 0);
  const auto gradients = layer.backward(batch, none, none, none);
  CHECK(gradients.gamma == Eigen::Vector2d(0, 0));
  CHECK(gradients.beta == Eigen::Vector2d(0, 0));
}

TEST_CASE("one value per channel is refused, naming the way out", "[layer]") {
  BatchNorm<double> layer(2, exact_options());
  const Eigen::MatrixXd one = two_channels().col(0);
  Eigen::MatrixXd y(2, 1);
  const char* text =
      "BatchNorm::train: a minibatch has a variance from two values per channel on: expected at "
      "least 2 values per channel, got 1; use infer() or freeze()";
  CHECK_THROWS_MATCHES(layer.train(one, y), std::invalid_argument, says(text));
  CHECK_THROWS_AS(layer.normalize(one, y), std::invalid_argument);
  CHECK_THROWS_MATCHES(layer.commit(batchnorm::moments_of(one)), std::invalid_argument,
                       says("BatchNorm::commit: a minibatch has a variance from two values"));
  CHECK(layer.state().batches_seen == 0);
}

TEST_CASE("one value per channel may borrow the running statistics", "[layer]") {
  Options options = exact_options();
  options.single_value = SingleValue::use_running_statistics;
  BatchNorm<double> fresh(2, options);
  const Eigen::MatrixXd one = two_channels().col(1);
  Eigen::MatrixXd y(2, 1);
  CHECK_THROWS_MATCHES(fresh.train(one, y), std::domain_error,
                       says("the running statistics must come from data"));

  BatchNorm<double> layer(2, options);
  layer.train(two_channels());
  const State<double> before = layer.state();
  const auto batch = layer.train(one, y);
  CHECK(y == layer.infer(one));
  CHECK(layer.state().running_mean == before.running_mean);
  CHECK(layer.state().batches_seen == 1);

  const auto [dx, gamma, beta] = layer.backward(batch, one, one);
  Eigen::MatrixXd frozen_dx(2, 1);
  const auto frozen = layer.backward_frozen(one, one, frozen_dx);
  CHECK(dx == frozen_dx);
  CHECK(gamma == frozen.gamma);
  CHECK(beta == frozen.beta);
}

TEST_CASE("a layer goes on from its state", "[layer]") {
  Options options = exact_options();
  options.running = RunningUpdate::cumulative();
  BatchNorm<double> first(2, options);
  first.train(two_channels());
  first.train(two_channels() * 2);
  BatchNorm<double> second(first.state(), first.options());
  first.train(two_channels() * 3);
  second.train(two_channels() * 3);
  CHECK(second.state().running_mean == first.state().running_mean);
  CHECK(second.state().running_variance == first.state().running_variance);
  CHECK(second.state().batches_seen == 3);
  CHECK_THAT(second.state().running_mean[0], Catch::Matchers::WithinULP(20.0, 2));
}

TEST_CASE("statistics of a system that does not count are not forgotten", "[layer]") {
  // Loaded from such a file, or set by hand: mean 5 and variance 4.
  State<double> state(1);
  state.running_mean[0] = 5;
  state.running_variance[0] = 4;
  const Eigen::RowVector4d x(-1, 0, 1, 0);
  Eigen::RowVector4d y(7, 7, 7, 7);
  for (const Options& options : {Options::dlib(), Options::haiku(0.9), Options::paper(), [] {
                                   Options population;
                                   population.running = RunningUpdate::population();
                                   return population;
                                 }()}) {
    for (const Index count : {State<double>::unknown, Index{0}}) {
      state.batches_seen = state.samples_seen = count;
      BatchNorm<double> layer(state, options);
      CHECK_THROWS_MATCHES(layer.train(x, y), std::domain_error,
                           says("expected a count of what the running statistics come from in "
                                "state()."));
      CHECK_THROWS_AS(layer.commit(batchnorm::moments_of(x)), std::domain_error);
      CHECK(y == Eigen::RowVector4d(7, 7, 7, 7));
      CHECK(layer.state().running_mean[0] == 5.0);
      CHECK(layer.state().running_variance[0] == 4.0);
      CHECK_NOTHROW(layer.infer(x));
      layer.state().batches_seen = 99;
      layer.state().samples_seen = 4000;
      layer.train(x);
      CHECK(layer.state().running_mean[0] > 4.4);
      CHECK(layer.state().batches_seen == 100);
    }
  }
  state.batches_seen = state.samples_seen = State<double>::unknown;
  BatchNorm<double> layer(state, Options::keras());
  layer.train(x);
  CHECK(layer.state().running_mean[0] == 0.99 * 5);
  CHECK(layer.state().batches_seen == State<double>::unknown);
}

TEST_CASE("layers are plain values", "[layer]") {
  std::vector<BatchNorm<double>> layers(3, BatchNorm<double>(2, exact_options()));
  layers[0].train(two_channels());
  CHECK(layers[1].state().batches_seen == 0);
  layers[1] = layers[0];
  layers.push_back(std::move(layers[0]));
  CHECK(layers[3].state().running_mean == Eigen::Vector2d(2.5, -0.25));
  CHECK(layers[3].infer(two_channels()) == layers[1].infer(two_channels()));
}

TEST_CASE("a residual is said at the input, its gradient at the input gradient", "[layer]") {
  using batchnorm::with_residual;
  Options options = exact_options();
  options.epilogue = batchnorm::Epilogue::relu();
  BatchNorm<double> layer(2, options);
  const Eigen::MatrixXd x = two_channels(), dy = x * 0.5;
  const Eigen::MatrixXd r = (Eigen::MatrixXd(2, 4) << 3, -3, 0.5, 0.25, 2, 2, -2, -2).finished();
  const Eigen::MatrixXd expected = (normalised() + r).cwiseMax(0.0);
  Eigen::MatrixXd y(2, 4), dx(2, 4), dr(2, 4);
  const auto batch = layer.normalize(with_residual(x, r), y);
  CHECK(y == expected);
  CHECK(layer.train(with_residual(x, r), y).mean == batch.mean);
  CHECK(y == expected);
  CHECK(layer.train(with_residual(x, r)).output == expected);
  Eigen::MatrixXd in_place = r;
  layer.normalize(with_residual(x, in_place), in_place);
  CHECK(in_place == expected);

  const Eigen::MatrixXd mask = (expected.array() > 0.0).cast<double>();
  const auto gradients = layer.backward(batch, with_residual(x, r), dy, with_residual(dx, dr));
  CHECK(dr == Eigen::MatrixXd(dy.cwiseProduct(mask)));
  CHECK(gradients.beta == Eigen::VectorXd(dr.rowwise().sum()));
  layer.backward_frozen(with_residual(x, r), dy, with_residual(dx, dr));
  layer.infer(with_residual(x, r), y);
  CHECK(layer.infer(with_residual(x, r)) == y);
  CHECK(dr == Eigen::MatrixXd(dy.cwiseProduct((y.array() > 0.0).cast<double>().matrix())));
}

TEST_CASE("a fixed number of channels may be one", "[layer]") {
  BatchNorm<float, 1> fixed;
  BatchNorm<float> any(1);
  Eigen::RowVectorXf x(5), y(5), other(5), dx(5), other_dx(5);
  x << 1, 2, 4, 8, -3;
  const auto batch = fixed.train(x, y);
  const auto same = any.train(x, other);
  CHECK(y == other);
  fixed.backward(batch, x, y, dx);
  any.backward(same, x, y, other_dx);
  CHECK(dx == other_dx);
  fixed.infer(x, y);
  any.infer(x, other);
  CHECK(y == other);
}

TEST_CASE("the number of channels may be fixed", "[layer]") {
  BatchNorm<float, 2> layer;
  const Eigen::Matrix<float, 2, 4> x = two_channels().cast<float>();
  Eigen::Matrix<float, 2, 4> y;
  layer.train(x, y);
  CHECK(layer.channels() == 2);
  BatchNorm<float> dynamic(2);
  CHECK(dynamic.train(x).output == y);
  CHECK(layer.freeze()(x) == dynamic.infer(x));
  const BatchNorm<float, 2> with_options(Options::keras());
  CHECK(with_options.channels() == 2);
  CHECK(with_options.options().epsilon == 1e-3);
  Options negative;
  negative.epsilon = -1.0;
  CHECK_THROWS_AS((BatchNorm<float, 2>(negative)), std::invalid_argument);
  CHECK_THROWS_MATCHES((BatchNorm<float, 2>(3)), std::invalid_argument,
                       says("number of channels is fixed by the type: expected 2, got 3"));
}
