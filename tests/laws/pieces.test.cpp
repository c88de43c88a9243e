// SPDX-License-Identifier: MIT
// A minibatch that lies in pieces, normalised and back-propagated piece by piece with the merged
// moments and sums, against the oracle on the whole minibatch.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/epilogues.hpp"
#include "support/instances.hpp"
#include "support/layers.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// Where the pieces of 11 samples end; one is a single value per channel, one is empty.
const std::vector<Size> ends = {4, 5, 5, 11};

Batch piece_of(const Batch& batch, Size first, Size last) {
  std::vector<Size> samples;
  for (Size sample = first; sample < last; ++sample) samples.push_back(sample);
  return pick(batch, samples);
}

/// body(piece of every batch), for every piece.
template <class Body>
void for_pieces(const Body& body) {
  Size first = 0;
  for (const Size last : ends) {
    body([first, last](const Batch& batch) { return piece_of(batch, first, last); });
    first = last;
  }
}

template <class T>
void check_pieces(const EpilogueProblem& problem, Layout layout) {
  const reference::Gradients expected =
      reference::backward(problem.layer, problem.x, problem.residual, problem.dy, true);
  const Batch y = reference::forward(problem.layer, problem.x, problem.residual);
  const Bounds<T> bounds(problem.layer, problem.x);
  BatchNorm<T> layer = make_layer<T>(problem.layer, problem.options());
  const State<T> before = layer.state();

  Moments<accumulator_t<T>> batch;
  for_pieces([&](const auto& piece) {
    batch.merge(moments_of(Stored<T>(piece(problem.x), layout).view()));
  });
  GradientSums<accumulator_t<T>> sums;
  for_pieces([&](const auto& piece) {
    const Stored<T> x(piece(problem.x), layout), r(piece(problem.residual), layout);
    const Stored<T> dy(piece(problem.dy), layout);
    Stored<T> out = Stored<T>::like(piece(problem.x), layout);
    if (problem.has_residual) {
      layer.normalize(batch, with_residual(x.view(), r.view()), out.view());
      sums.merge(layer.backward_sums(batch, with_residual(x.view(), r.view()), dy.view()));
    } else {
      layer.normalize(batch, x.view(), out.view());
      sums.merge(layer.backward_sums(batch, x.view(), dy.view()));
    }
    const Batch values = piece(problem.x), residual = piece(problem.residual);
    CHECK(beyond(out.read(), piece(y), [&](Size n, Size c, Size p) {
            const Real value = values.at(n, c, p);
            const Real xhat = std::fabs(value - problem.layer.mu[c]) / problem.layer.root(c);
            const Real terms = std::fabs(problem.layer.gamma[c]) * (xhat + 1) +
                               std::fabs(problem.layer.beta[c]) + std::fabs(residual.at(n, c, p));
            return safety * unit<parameter_t<T>>() * terms;
          }) == "");
  });
  CHECK(sums.count == batch.count);
  CHECK(layer.state().running_mean == before.running_mean);

  const PerChannel steepest = largest(problem.dy);
  for_pieces([&](const auto& piece) {
    const Stored<T> x(piece(problem.x), layout), r(piece(problem.residual), layout);
    const Stored<T> dy(piece(problem.dy), layout);
    Stored<T> dx = Stored<T>::like(piece(problem.x), layout), dr = dx;
    if (problem.has_residual) {
      layer.backward(batch, sums, with_residual(x.view(), r.view()), dy.view(),
                     with_residual(dx.view(), dr.view()), Execution::serial());
      CHECK(beyond(dr.read(), piece(expected.residual), [&](Size n, Size c, Size p) {
              return Bounds<T>::residual_gradient(piece(problem.dy).at(n, c, p));
            }) == "");
    } else {
      layer.backward(batch, sums, x.view(), dy.view(), dx.view());
    }
    const Batch values = piece(problem.x);
    CHECK(beyond(dx.read(), piece(expected.x), [&](Size n, Size c, Size p) {
            const Real root = problem.layer.root(c);
            const Real xhat = std::fabs(values.at(n, c, p) - problem.layer.mu[c]) / root;
            return safety * std::fabs(problem.layer.gamma[c]) / root * steepest[c] * (2 + xhat) *
                   unit<parameter_t<T>>();
          }) == "");
  });
  const PerChannel dgamma = bounds.dgamma(problem.dy), dbeta = bounds.dbeta(problem.dy);
  const Gradients<T> parameters = layer.parameter_gradients(sums);
  CHECK(beyond_channels(parameters.gamma, expected.gamma, [&](Size c) { return dgamma[c]; }) == "");
  CHECK(beyond_channels(parameters.beta, expected.beta, [&](Size c) { return dbeta[c]; }) == "");

  layer.commit(batch);
  CHECK(layer.state().samples_seen == static_cast<Index>(problem.x.count()));
}

}  // namespace

TEMPLATE_TEST_CASE("a minibatch in pieces is one minibatch", "", float, double) {
  Random random(60);
  for (const Size positions : {1u, 3u}) {
    for (const Real slope : {1.0L, 0.25L}) {
      for (const bool has_residual : {false, true}) {
        const Batch values = normal_batch(random, 11, 5, positions, 2);
        const EpilogueProblem problem =
            epilogue_problem<TestType>(random, values, slope, has_residual);
        for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
          INFO(positions << " positions, slope " << static_cast<double>(slope) << ", residual "
                         << has_residual << ", " << name_of(layout));
          check_pieces<TestType>(problem, layout);
        }
      }
    }
  }
}

TEST_CASE("a piece that is the whole gives what backward gives") {
  Random random(61);
  const Batch values = stored_as<double>(normal_batch(random, 9, 4, 2, 1));
  const BatchNorm<double> layer = make_layer<double>(random_layer<double>(random, values), {});
  const Stored<double> x(values, Layout::channels_first);
  const Stored<double> dy(normal_batch(random, 9, 4, 2), Layout::channels_first);
  Stored<double> y = Stored<double>::like(values, Layout::channels_first), dx = y, again = y;
  const auto batch = layer.normalize(x.view(), y.view());
  layer.normalize(batch, x.view(), again.view());
  CHECK(again.read().values == y.read().values);
  const auto gradients = layer.backward(batch, x.view(), dy.view(), dx.view());
  const auto sums = layer.backward_sums(batch, x.view(), dy.view());
  layer.backward(batch, sums, x.view(), dy.view(), again.view());
  CHECK(again.read().values == dx.read().values);
  CHECK(layer.parameter_gradients(sums).gamma == gradients.gamma);
  CHECK(layer.parameter_gradients(sums).beta == gradients.beta);
}

TEST_CASE("moments and sums that are not those of the whole are refused") {
  Eigen::MatrixXd x = Eigen::MatrixXd::Random(3, 8), y = x, dy = x, dx = x;
  const Eigen::MatrixXd before = y;
  BatchNorm<double> layer(3);
  const auto batch = moments_of(x);
  const auto fewer = moments_of(x.leftCols(7));
  const std::string moments_rule =
      "the moments must be those of the whole minibatch: expected moments of at least the 8 values "
      "per channel of this piece, got moments of 7";
  CHECK_THROWS_MATCHES(layer.normalize(fewer, x, y), std::invalid_argument,
                       says("BatchNorm::normalize: " + moments_rule));
  CHECK_THROWS_MATCHES(layer.backward_sums(fewer, x, dy), std::invalid_argument,
                       says("BatchNorm::backward_sums: " + moments_rule));
  const auto sums = layer.backward_sums(batch, x.leftCols(5), dy.leftCols(5));
  CHECK_THROWS_MATCHES(layer.backward(fewer, sums, x, dy, dx), std::invalid_argument,
                       says("BatchNorm::backward: " + moments_rule));
  CHECK_THROWS_MATCHES(
      layer.backward(batch, sums, x, dy, dx), std::invalid_argument,
      says("BatchNorm::backward: the sums must be those of the whole minibatch, all pieces merged: "
           "expected sums of 8 values per channel, got sums of 5"));
  const GradientSums<double> narrow(2);
  CHECK_THROWS_MATCHES(
      layer.backward(batch, narrow, x, dy, dx), std::invalid_argument,
      says("number of channels of the sums must be the layer's: expected 3, got 2 and 2"));
  CHECK_THROWS_MATCHES(layer.parameter_gradients(narrow), std::invalid_argument,
                       says("BatchNorm::parameter_gradients: number of channels of the sums"));
  CHECK_THROWS_MATCHES(layer.normalize(moments_of(x.topRows(2)), x, y), std::invalid_argument,
                       says("number of channels of the moments"));
  auto bad = batch;
  bad.mean[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_MATCHES(layer.normalize(bad, x, y), std::domain_error, says("in channel 1"));
  const auto single = moments_of(x.leftCols(1));
  CHECK_THROWS_MATCHES(layer.normalize(single, x.leftCols(1), y.leftCols(1)), std::invalid_argument,
                       says("from two values per channel on"));
  CHECK(y == before);
  CHECK(dx == before);
}

TEST_CASE("a minibatch of one value per channel borrows the running statistics, in pieces too") {
  Options options;
  options.single_value = SingleValue::use_running_statistics;
  BatchNorm<double> layer(2, options);
  layer.train((Eigen::MatrixXd(2, 3) << 1, 4, 2, -3, 5, 0.5).finished());
  const Eigen::Vector2d x(0.5, 2.0), dy(3.0, -1.0);
  Eigen::Vector2d y, dx, frozen_dx;
  const auto batch = moments_of(x);
  layer.normalize(batch, x, y);
  CHECK(y == Eigen::Vector2d(layer.infer(x)));
  const auto frozen = layer.backward_frozen(x, dy, frozen_dx);
  const auto sums = layer.backward_sums(batch, x, dy);
  layer.backward(batch, sums, x, dy, dx);
  CHECK(dx == frozen_dx);
  CHECK(layer.parameter_gradients(sums).gamma == frozen.gamma);
  CHECK(layer.parameter_gradients(sums).beta == frozen.beta);
}
