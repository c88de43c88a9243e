// SPDX-License-Identifier: MIT
// The four cases of freezing: the output, what becomes of the running statistics, and the gradient,
// against finite differences of the oracle in long double.
#include "batchnorm/recalibrate/freezing.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"
#include "support/layers.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

struct Case {
  NormalizeWith statistics;
  Running running;
  const char* name;
};

constexpr Case cases[] = {{NormalizeWith::minibatch, Running::update, "minibatch, update"},
                          {NormalizeWith::minibatch, Running::keep, "minibatch, keep"},
                          {NormalizeWith::running, Running::keep, "running, keep"},
                          {NormalizeWith::running, Running::update, "running, update"}};

constexpr Size samples = 5, channels = 3, positions = 2;

/// The oracle: what normalises is a function of x, or constant.
struct Problem {
  Problem() {
    Random random(8);
    x = stored_as<double>(normal_batch(random, samples, channels, positions, 2));
    weights = stored_as<double>(normal_batch(random, samples, channels, positions));
    norm = {stored_as<double>(uniform_channels(random, channels, 0.5, 2)),
            stored_as<double>(uniform_channels(random, channels, -1, 1)),
            stored_as<double>(uniform_channels(random, channels, 0, 3)),
            stored_as<double>(uniform_channels(random, channels, 0.5, 4)), 1e-3L};
  }

  Batch output(NormalizeWith statistics) const {
    reference::Layer layer = norm;
    if (statistics == NormalizeWith::minibatch) {
      layer.mu = reference::mean(x);
      layer.sigma2 = reference::variance(x, layer.mu);
    }
    return reference::forward(layer, x);
  }

  /// L = sum w y^2 / 2, whose gradient is w y.
  Real loss(NormalizeWith statistics) const {
    const Batch y = output(statistics);
    Real sum = 0;
    for (Size i = 0; i < y.values.size(); ++i) {
      sum += weights.values[i] * y.values[i] * y.values[i] / 2;
    }
    return sum;
  }

  Real derivative(Real& parameter, NormalizeWith statistics) const {
    const Real at = parameter, step = 1e-5L;
    const auto loss_at = [&](Real offset) {
      parameter = at + offset;
      return loss(statistics);
    };
    const Real quotient =
        (8 * (loss_at(step) - loss_at(-step)) - (loss_at(2 * step) - loss_at(-2 * step))) /
        (12 * step);
    parameter = at;
    return quotient;
  }

  BatchNorm<double> layer() const {
    Options options;
    options.running = RunningUpdate::take_new(0.25);
    BatchNorm<double> made =
        make_layer<double>({norm.gamma, norm.beta, norm.mu, norm.sigma2, 1e-3L}, options);
    made.state().batches_seen = 4;
    made.state().samples_seen = 40;
    return made;
  }

  Batch x{samples, channels, positions};
  Batch weights = x;
  reference::Layer norm;
};

Eigen::MatrixXd random_matrix() {
  static Random random(9);
  Eigen::MatrixXd matrix(3, 6);
  for (double& value : matrix.reshaped()) value = random.normal();
  return matrix;
}

bool near(Real a, Real b, Real scale) {
  return std::fabs(a - b) <= 1e-9L * (std::fabs(b) + scale);
}

template <class S>
bool same_statistics(const S& a, const S& b) {
  return a.running_mean == b.running_mean && a.running_variance == b.running_variance &&
         a.batches_seen == b.batches_seen && a.samples_seen == b.samples_seen;
}

}  // namespace

TEST_CASE("each case normalises and updates as it says, and has the gradient of that") {
  for (const Case& each : cases) {
    INFO(each.name);
    Problem problem;
    BatchNorm<double> layer = problem.layer();
    const State<double> before = layer.state();
    const Stored<double> x(problem.x, Layout::channels_first);
    Stored<double> y = Stored<double>::like(problem.x, Layout::channels_last);
    const auto pass = forward(layer, x.view(), y.view(), each.statistics, each.running);

    const Batch expected = problem.output(each.statistics);
    CHECK(beyond(y.read(), expected, [](Size, Size, Size) { return 1e-12L; }) == "");
    if (each.running == Running::keep) {
      CHECK(same_statistics(layer.state(), before));
    } else {
      const PerChannel mu = reference::mean(problem.x);
      const PerChannel sigma2 = reference::variance(problem.x, mu);
      for (Size c = 0; c < channels; ++c) {
        const auto i = static_cast<Index>(c);
        const Real sample = sigma2[c] * 10 / 9;
        CHECK(near(layer.state().running_mean[i], 0.75L * problem.norm.mu[c] + mu[c] / 4, 1e-3L));
        CHECK(near(layer.state().running_variance[i], 0.75L * problem.norm.sigma2[c] + sample / 4,
                   0));
      }
      CHECK(layer.state().batches_seen == 5);
      CHECK(layer.state().samples_seen == 50);
    }
    CHECK(pass.batch.count ==
          (each.statistics == NormalizeWith::running && each.running == Running::keep ? 0 : 10));

    Batch dy = expected;
    for (Size i = 0; i < dy.values.size(); ++i) dy.values[i] *= problem.weights.values[i];
    const Stored<double> stored_dy(dy, Layout::channels_first);
    Stored<double> dx = Stored<double>::like(problem.x, Layout::channels_first);
    const Gradients<double> gradients =
        backward(layer, pass, x.view(), stored_dy.view(), dx.view());
    const Batch result = dx.read();
    for (Size i = 0; i < problem.x.values.size(); ++i) {
      INFO("element " << i);
      CHECK(near(result.values[i], problem.derivative(problem.x.values[i], each.statistics), 1));
    }
    for (Size c = 0; c < channels; ++c) {
      const auto i = static_cast<Index>(c);
      CHECK(
          near(gradients.gamma[i], problem.derivative(problem.norm.gamma[c], each.statistics), 1));
      CHECK(near(gradients.beta[i], problem.derivative(problem.norm.beta[c], each.statistics), 1));
    }
  }
}

TEST_CASE("the three that have calls of their own have their bits, in place too") {
  const Problem problem;
  for (const Case& each : cases) {
    INFO(each.name);
    BatchNorm<double> layer = problem.layer(), other = problem.layer();
    Stored<double> in_place(problem.x, Layout::channels_first);
    Stored<double> y(problem.x, Layout::channels_first);
    forward(layer, in_place.view(), in_place.view(), each.statistics, each.running);
    if (each.statistics == NormalizeWith::running) {
      const Stored<double> x(problem.x, Layout::channels_first);
      other.infer(x.view(), y.view());
      if (each.running == Running::update) other.commit(moments_of(x.view()));
    } else if (each.running == Running::update) {
      other.train(y.view(), y.view());
    } else {
      other.normalize(y.view(), y.view());
    }
    CHECK(in_place.read().values == y.read().values);
    CHECK(same_statistics(layer.state(), other.state()));
  }
}

TEST_CASE("with running statistics an output does not depend on the minibatch, updated or not") {
  const Problem problem;
  for (const Running running : {Running::keep, Running::update}) {
    BatchNorm<double> many = problem.layer(), few = problem.layer();
    Eigen::MatrixXd x = random_matrix(), y(3, 6), part(3, 2);
    forward(many, x, y, NormalizeWith::running, running);
    forward(few, x.leftCols(2), part, NormalizeWith::running, running);
    CHECK(part == y.leftCols(2));
  }
}

TEST_CASE("the way back is that of its call, whatever the layer has seen since") {
  const Problem problem;
  BatchNorm<double> layer = problem.layer();
  const Eigen::MatrixXd x = random_matrix(), dy = random_matrix();
  Eigen::MatrixXd y(3, 6), dx(3, 6), later_dx(3, 6);
  const auto pass = forward(layer, x, y, NormalizeWith::running, Running::keep);
  const auto gradients = backward(layer, pass, x, dy, dx);
  layer.train(Eigen::MatrixXd(x * 10), y);
  const auto later = backward(layer, pass, x, dy, later_dx);
  CHECK(later_dx == dx);
  CHECK(later.gamma == gradients.gamma);
}

TEST_CASE(
    "one value per channel that is left to the running statistics has their gradient, later too") {
  Options options;
  options.single_value = SingleValue::use_running_statistics;
  options.epsilon = 0;
  for (const Running running : {Running::keep, Running::update}) {
    BatchNorm<double> layer(2, options);
    layer.state().set_statistics(Eigen::Vector2d(1, 2), Eigen::Vector2d(4, 16));
    const Eigen::Vector2d x(3, 10), dy(1, 1);
    Eigen::VectorXd y(2), dx(2);
    const auto pass = forward(layer, x, y, NormalizeWith::minibatch, running);
    CHECK(y == Eigen::Vector2d(1, 2));
    CHECK(pass.statistics == NormalizeWith::running);
    layer.state().set_statistics(Eigen::Vector2d(0, 0), Eigen::Vector2d(1, 1));
    const auto gradients = backward(layer, pass, x, dy, dx);
    CHECK(dx == Eigen::Vector2d(0.5, 0.25));
    CHECK(gradients.gamma == Eigen::Vector2d(1, 2));
  }
}

TEST_CASE("wrong shapes are named as such, and so is a pass of another layer") {
  const Problem problem;
  BatchNorm<double> layer = problem.layer(), other(2);
  other.state().set_statistics(Eigen::Vector2d(1, 2), Eigen::Vector2d(4, 9));
  Eigen::MatrixXd x = Eigen::MatrixXd::Ones(6, 3), y(6, 3);
  CHECK_THROWS_MATCHES(forward(layer, x, y, NormalizeWith::running, Running::update),
                       std::invalid_argument, says("the matrix looks transposed"));
  BatchNorm<double> empty;
  CHECK_THROWS_MATCHES(forward(empty, x, y, NormalizeWith::running, Running::update),
                       std::invalid_argument, says("expected at least 1, got 0"));
  Eigen::MatrixXd x2 = Eigen::MatrixXd::Ones(2, 6), y2(2, 6), x3 = random_matrix(), dx(3, 6);
  const auto pass = forward(other, x2, y2, NormalizeWith::running, Running::keep);
  CHECK_THROWS_MATCHES(backward(layer, pass, x3, x3, dx), std::invalid_argument,
                       says("the pass must be of this layer: expected 3 channels, got 2"));
}

TEST_CASE("what is refused changes neither the layer nor an input in place") {
  const Problem problem;
  for (const Case& each : cases) {
    INFO(each.name);
    BatchNorm<double> layer = problem.layer();
    Eigen::MatrixXd x = random_matrix();
    x(1, 5) = std::numeric_limits<double>::infinity();
    const Eigen::MatrixXd before = x;
    const bool looks_at_it =
        each.statistics == NormalizeWith::minibatch || each.running == Running::update;
    if (looks_at_it) {
      CHECK_THROWS_AS(forward(layer, x, x, each.statistics, each.running), std::domain_error);
      CHECK(x == before);
    }
    Eigen::MatrixXd other(3, 5);
    CHECK_THROWS_AS(forward(layer, before.leftCols(4), other, each.statistics, each.running),
                    std::invalid_argument);
    CHECK(same_statistics(layer.state(), problem.layer().state()));
  }
  BatchNorm<double> fresh(3);
  Eigen::MatrixXd x = random_matrix();
  CHECK_THROWS_MATCHES(forward(fresh, x, x, NormalizeWith::running, Running::update),
                       std::domain_error, says("the running statistics must come from data"));
  CHECK(fresh.state().batches_seen == 0);
}

TEST_CASE("layers with a fixed number of channels, and a single example") {
  BatchNorm<float, 2> layer;
  layer.state().set_statistics(Eigen::Vector2f(1, 2), Eigen::Vector2f(4, 9));
  Eigen::Matrix<float, 2, 1> x(3, 5), y, dx;
  const auto pass = forward(layer, x, y, NormalizeWith::running, Running::keep);
  CHECK((y - Eigen::Vector2f(1, 1)).norm() < 1e-5f);
  const auto gradients = backward(layer, pass, x, Eigen::Vector2f(1, 1), dx);
  CHECK((dx - Eigen::Vector2f(0.5f, 1 / 3.0f)).norm() < 1e-5f);
  CHECK(gradients.beta == Eigen::Vector2f(1, 1));
}
