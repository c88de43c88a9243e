// SPDX-License-Identifier: MIT
// Calls of a layer on a minibatch that comes in pieces, against the oracle on the whole of it. One
// rank with blocks takes its minibatch in pieces; tests/distributed has more of them.
#include "batchnorm/math/together.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/rank_steps.hpp"
#include "support/weighted_reference.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr double epsilon = 0.01;

using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

/// One rank with blocks of some samples.
class Pieces {
 public:
  explicit Pieces(Index samples)
      : one_(nobody_, 0, 1, SynchronizeOptions{samples, ParameterGradients::of_this_rank, 0}) {}
  Execution execution() { return one_; }

 private:
  struct Nobody {
    void operator()(const void*, std::size_t, void*) const {}
  };
  Nobody nobody_;
  Synchronize one_;
};

/// The first of two ranks, the other one of which is lost.
class Alone {
 public:
  Alone() : two_(lost_, 0, 2) {}
  Execution execution() { return two_; }

 private:
  struct Lost {
    void operator()(const void*, std::size_t, void*) const { throw std::logic_error("lost"); }
  };
  Lost lost_;
  Synchronize two_;
};

/// Two channels with parameters of their own.
struct Problem {
  Batch x, dy;
  std::vector<Real> w;
  PerChannel gamma = {1.5L, 0.75L}, beta = {-0.25L, 2};

  Problem(Random& random, Size samples, Size positions, bool mask)
      : x(stored_as<double>(normal_batch(random, samples, 2, positions, 3))),
        dy(stored_as<double>(normal_batch(random, samples, 2, positions))),
        w(random_weights(random, samples * positions, mask)) {}

  Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic> weights() const {
    return weight_matrix(w, 0, x.samples, x.positions);
  }

  WeightedStep expected() const { return weighted_step(x, dy, w, gamma, beta, Real(epsilon)); }

  BatchNorm<double> layer(Options options = {}) const {
    options.epsilon = epsilon;
    BatchNorm<double> layer(2, options);
    for (Index c = 0; c < 2; ++c) {
      layer.state().gamma[c] = static_cast<double>(gamma[static_cast<Size>(c)]);
      layer.state().beta[c] = static_cast<double>(beta[static_cast<Size>(c)]);
    }
    return layer;
  }
};

/// Train, backward and backward_from_output on `in`, in pieces of one, two and five samples.
template <class In>
void check_in_pieces(const Problem& problem, const In& in, Layout layout) {
  const WeightedStep expected = problem.expected();
  const Stored<double> dy(problem.dy, layout);
  for (const Index size : {1, 2, 5, 100}) {
    CAPTURE(name_of(layout), size);
    Pieces pieces(size);
    const Execution execution = pieces.execution();
    BatchNorm<double> layer = problem.layer();
    Stored<double> y = Stored<double>::like(problem.x, layout), dx = y;
    const auto batch = layer.train(in, y.view(), execution);
    CHECK(batch.count == static_cast<Index>(expected.count));
    CHECK(batch.weight() == Approx(static_cast<double>(expected.weight)).epsilon(1e-14));
    CHECK(batch.squared_weight() ==
          Approx(static_cast<double>(expected.squared_weight)).epsilon(1e-14));
    CHECK(largest_difference(y.read().values, expected.y.values) < 1e-12L);
    CHECK(layer.state().samples_seen > 0);
    const auto gradients = layer.backward(batch, in, dy.view(), dx.view(), execution);
    CHECK(largest_difference(dx.read().values, expected.dx.values) < 1e-12L);
    for (Size c = 0; c < 2; ++c) {
      CHECK(std::fabs(gradients.gamma[static_cast<Index>(c)] - expected.gamma[c]) < 1e-12L);
      CHECK(std::fabs(gradients.beta[static_cast<Index>(c)] - expected.beta[c]) < 1e-12L);
    }
  }
}

}  // namespace

TEST_CASE("masked minibatches in pieces are those of the oracle") {
  Random random(3);
  for (const Size positions : {Size(1), Size(4)}) {
    const Problem problem(random, 11, positions, true);
    const MaskMatrix mask = problem.weights() > 0.0;
    for (const Layout layout : all_layouts) {
      const Stored<double> x(problem.x, layout);
      check_in_pieces(problem, masked(x.view(), mask), layout);
    }
  }
}

TEST_CASE("weighted minibatches in pieces are those of the oracle") {
  Random random(4);
  for (const Weights kind : {Weights::frequency, Weights::reliability, Weights::importance}) {
    const Problem problem(random, 11, 3, false);
    const auto weights = problem.weights();
    const Stored<double> x(problem.x, Layout::channels_last);
    check_in_pieces(problem, weighted(x.view(), weights, kind), Layout::channels_last);
    Pieces pieces(3);
    BatchNorm<double> layer = problem.layer();
    Stored<double> y = x;
    const auto batch = layer.train(weighted(x.view(), weights, kind), y.view(), pieces.execution());
    CHECK(batch.weights() == kind);
  }
}

TEST_CASE("minibatches without a mask in pieces are those of the oracle") {
  Random random(5);
  Problem problem(random, 7, 3, true);
  std::fill(problem.w.begin(), problem.w.end(), Real(1));
  for (const Layout layout : all_layouts) {
    const Stored<double> x(problem.x, layout);
    check_in_pieces(problem, x.view(), layout);
  }
}

TEST_CASE("backward from the output in pieces") {
  Random random(6);
  const Problem problem(random, 9, 2, true);
  const MaskMatrix mask = problem.weights() > 0.0;
  const WeightedStep expected = problem.expected();
  const Stored<double> x(problem.x, Layout::channels_first), dy(problem.dy, Layout::channels_first);
  for (const Index size : {1, 4, 9}) {
    Pieces pieces(size);
    const Execution execution = pieces.execution();
    BatchNorm<double> layer = problem.layer();
    Stored<double> y = x, dx = x;
    const auto batch = layer.train(masked(x.view(), mask), y.view(), execution);
    layer.backward_from_output(batch, masked(y.view(), mask), dy.view(), dx.view(), execution);
    CHECK(largest_difference(dx.read().values, expected.dx.values) < 1e-12L);
  }
}

TEST_CASE("what a mask leaves out is filled as one machine fills it") {
  Random random(7);
  const Problem problem(random, 6, 2, true);
  const MaskMatrix mask = problem.weights() > 0.0;
  const WeightedStep expected = problem.expected();
  const Stored<double> x(problem.x, Layout::channels_first);
  Pieces pieces(4);
  BatchNorm<double> layer = problem.layer();
  Stored<double> y = x;
  layer.train(masked(x.view(), mask, MaskedOutput::zero), y.view(), pieces.execution());
  Batch with_zeros = expected.y;
  with_zeros.each([&](Size n, Size c, Size p) {
    if (!(problem.w[n * 2 + p] > 0)) with_zeros.at(n, c, p) = 0;
  });
  CHECK(largest_difference(y.read().values, with_zeros.values) < 1e-12L);
}

TEST_CASE("where nothing counts on any rank, outputs are filled and nothing moves") {
  Pieces pieces(2);
  const Execution execution = pieces.execution();
  BatchNorm<double> layer(2);
  const Eigen::MatrixXd x = Eigen::MatrixXd::Constant(2, 5, 3.0);
  Eigen::MatrixXd y = x, dx = x;
  const Eigen::Array<bool, 5, 1> mask = Eigen::Array<bool, 5, 1>::Constant(false);
  const auto batch = layer.train(masked(x, mask), y, execution);
  CHECK(batch.count == 0);
  CHECK(y.isZero(0));
  CHECK(layer.state().batches_seen == 0);
  layer.train(masked(x, mask, MaskedOutput::keep), y, execution);
  CHECK(y == x);
  const auto gradients = layer.backward(batch, masked(x, mask), x, dx, execution);
  CHECK(dx.isZero(0));
  CHECK(gradients.gamma.isZero(0));
}

TEST_CASE("when the ranks do not come together, nothing has changed") {
  Random random(8);
  const Problem problem(random, 6, 1, true);
  const Stored<double> x(problem.x, Layout::channels_first);
  Alone alone;
  BatchNorm<double> layer = problem.layer();
  Stored<double> y = Stored<double>::like(problem.x, Layout::channels_first);
  const Stored<double> before = y;
  CHECK_THROWS_AS(layer.train(x.view(), y.view(), alone.execution()), std::logic_error);
  CHECK(y.same_bits(before));
  CHECK(layer.state().batches_seen == 0);
  CHECK(layer.state().running_mean.isZero(0));
}

TEST_CASE("a rank refuses its own arguments before anything is combined") {
  Pieces pieces(4);
  const Execution execution = pieces.execution();
  BatchNorm<double> layer(2);
  const Eigen::MatrixXd x = Eigen::MatrixXd::Random(2, 5);
  Eigen::MatrixXd y = x, narrow(2, 4);
  const Eigen::Array<bool, 4, 1> mask = Eigen::Array<bool, 4, 1>::Constant(true);
  CHECK_THROWS_AS(layer.train(x, narrow, execution), std::invalid_argument);
  CHECK_THROWS_MATCHES(layer.train(masked(x, mask), y, execution), std::invalid_argument,
                       says("shape of a mask"));
  layer.state().beta[1] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_MATCHES(layer.train(x, y, execution), std::domain_error, says("beta of channel 1"));
  layer.state().beta[1] = 0;
  layer.state().gamma[0] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_MATCHES(layer.normalize(x, y, execution), std::domain_error,
                       says("gamma of channel 0"));
  layer.state().gamma[0] = 1;
  layer.state().running_mean[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_MATCHES(layer.train(x, y, execution), std::domain_error,
                       says("running statistics of channel 1"));
  CHECK_NOTHROW(layer.normalize(x, y, execution));  // does not need them
  layer.state().running_mean[1] = 0;
  const auto batch = layer.normalize(x, y);
  Moments<double> few = batch;
  few.count = 4;
  CHECK_THROWS_AS(layer.backward(few, x, x, y, execution), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(batch, x, x, narrow, execution), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(Moments<double>(3), x, x, y, execution), std::invalid_argument);
  Moments<double> impossible = batch;
  impossible.sum_of_squares[1] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(layer.backward(impossible, x, x, y, execution), std::domain_error);
  Eigen::MatrixXd z = x;
  CHECK_THROWS_MATCHES(
      layer.backward_from_output(batch, with_residual(x, x), x, with_residual(y, z), execution),
      std::invalid_argument,
      says("the output of a layer cannot be undone where a residual was added"));
  layer.state().gamma[1] = 0;
  CHECK_THROWS_MATCHES(layer.backward_from_output(batch, x, x, y, execution), std::domain_error,
                       says("gamma of channel 1"));
  CHECK_NOTHROW(layer.backward(batch, x, x, y, execution));
}

TEST_CASE("the sums of backward are of as many values as the moments") {
  Pieces pieces(4);
  BatchNorm<double> layer(2);
  const Eigen::MatrixXd x = Eigen::MatrixXd::Random(2, 5);
  Eigen::MatrixXd dx = x;
  Moments<double> many = layer.normalize(x, dx);
  many.count = 6;  // as if another rank had one of them
  CHECK_THROWS_AS(layer.backward(many, x, x, dx, pieces.execution()), std::invalid_argument);
}

TEST_CASE("parameters that are not finite pass where that is asked for") {
  Pieces pieces(4);
  Options options;
  options.non_finite = NonFinite::propagate;
  BatchNorm<double> layer(1, options);
  layer.state().gamma[0] = std::numeric_limits<double>::quiet_NaN();
  Eigen::RowVectorXd x(3);
  x << 1, 2, 3;
  Eigen::RowVectorXd y = x;
  layer.train(x, y, pieces.execution());
  CHECK(std::isnan(y[0]));
  CHECK(layer.state().running_mean[0] == Approx(0.2));
}

TEST_CASE("a step that takes nothing over needs no running statistics") {
  Pieces pieces(4);
  Options options;
  options.running = RunningUpdate::take_new(1.0);
  BatchNorm<double> layer(2, options);
  layer.state().running_mean[1] = std::numeric_limits<double>::quiet_NaN();
  Eigen::MatrixXd x(2, 2);
  x << 1, 3, 5, 7;
  layer.train(x, x, pieces.execution());
  CHECK(layer.state().running_mean == Eigen::Vector2d(2, 6));
}

TEST_CASE("the moments of an input that is only looked at") {
  BatchNorm<double> layer(1);
  Eigen::RowVectorXd x(4);
  x << 1, 100, 3, 5;
  const Eigen::Array<bool, 4, 1> mask(true, false, true, true);
  Pieces pieces(3);
  const auto input = masked(x, mask);
  for (const Execution& execution : {Execution(), pieces.execution()}) {
    const auto moments =
        detail::moments_seen<Eigen::Dynamic>("test", layer, Input<double>(input), execution, [] {});
    CHECK(moments.count == 3);
    CHECK(moments.mean[0] == 3.0);
    CHECK(moments.sum_of_squares[0] == 8.0);
    CHECK(detail::samples_seen(Input<double>(input), execution) == 4);
  }
  const auto refuse = [] { throw std::invalid_argument("refused"); };
  for (const Execution& execution : {Execution(), pieces.execution()}) {
    CHECK_THROWS_AS(
        detail::moments_seen<Eigen::Dynamic>("test", layer, Input<double>(x), execution, refuse),
        std::invalid_argument);
  }
}
