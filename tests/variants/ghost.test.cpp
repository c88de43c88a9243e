// SPDX-License-Identifier: MIT
#include "batchnorm/variants/ghost.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_derivatives.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// The ghosts of a minibatch by hand: first example and number of examples.
using Cut = std::vector<std::pair<Size, Size>>;

Batch samples(const Batch& x, Size first, Size count) {
  std::vector<Size> chosen(count);
  for (Size i = 0; i < count; ++i) chosen[i] = first + i;
  return pick(x, chosen);
}

reference::Layer layer_of(const PerChannel& gamma, const PerChannel& beta, const Batch& x,
                          Real epsilon) {
  const PerChannel mean = reference::mean(x);
  return {gamma, beta, mean, reference::variance(x, mean), epsilon};
}

struct Case {
  PerChannel gamma, beta;
  Batch x, dy;

  explicit Case(std::uint64_t seed) : x{7, 3, 2}, dy{7, 3, 2} {
    Random random(seed);
    x = normal_batch(random, 7, 3, 2, 1, 2);
    dy = normal_batch(random, 7, 3, 2, 0.1L);
    gamma = uniform_channels(random, 3, -2, 2);
    beta = uniform_channels(random, 3, -1, 1);
  }

  BatchNorm<double> layer(Options options = {}) const {
    BatchNorm<double> layer(3, options);
    for (Index c = 0; c < 3; ++c) {
      layer.state().gamma[c] = static_cast<double>(gamma[static_cast<Size>(c)]);
      layer.state().beta[c] = static_cast<double>(beta[static_cast<Size>(c)]);
    }
    return layer;
  }
};

const Cut cut_by_three = {{0, 3}, {3, 4}};  // 7 examples: the one left over joins the last ghost

}  // namespace

TEST_CASE("what is left over joins the last ghost, which is never one of one example") {
  const GhostBatches ten{10};
  CHECK(ten.ghosts(101) == 10);
  CHECK(ten.count(0, 101) == 10);
  CHECK(ten.count(9, 101) == 11);
  CHECK(ten.ghosts(9) == 1);
  CHECK(ten.count(0, 9) == 9);
  CHECK(ten.ghosts(19) == 1);
  CHECK(ten.count(0, 19) == 19);
  for (Index examples = 2; examples < 50; ++examples) {
    for (Index size = 2; size < 12; ++size) {
      const GhostBatches ghosts{size};
      Index all = 0;
      for (Index ghost = 0; ghost < ghosts.ghosts(examples); ++ghost) {
        CHECK(ghosts.first(ghost) == all);
        CHECK(ghosts.count(ghost, examples) >= std::min(size, examples));
        all += ghosts.count(ghost, examples);
      }
      CHECK(all == examples);
    }
  }
}

TEST_CASE("every ghost is normalised, and back-propagated through, by itself") {
  const Case given(1);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<double> x(given.x, layout), dy(given.dy, Layout::channels_first);
    Stored<double> y = Stored<double>::like(given.x, layout), dx = y;
    BatchNorm<double> layer = given.layer();
    const auto batch = train_ghosts(layer, GhostBatches{3}, x.view(), y.view());
    const auto gradients = backward_ghosts(layer, batch, x.view(), dy.view(), dx.view());
    REQUIRE(batch.of_ghost.size() == 2);
    CHECK(batch.of_ghost[1].count == 8);
    PerChannel gamma(3, 0), beta(3, 0);
    for (const auto& [first, count] : cut_by_three) {
      const Batch ghost = samples(given.x, first, count);
      const auto oracle = layer_of(given.gamma, given.beta, ghost, 1e-5L);
      const auto expected =
          reference::backward(oracle, ghost, samples(given.dy, first, count), true);
      CHECK(reference::worst_share(samples(y.read(), first, count).values,
                                   reference::forward(oracle, ghost).values) < 1e-13L);
      CHECK(reference::worst_share(samples(dx.read(), first, count).values, expected.x.values) <
            1e-12L);
      for (Size c = 0; c < 3; ++c) {
        gamma[c] += expected.gamma[c];
        beta[c] += expected.beta[c];
      }
    }
    for (Index c = 0; c < 3; ++c) {
      CHECK(gradients.gamma[c] ==
            Approx(static_cast<double>(gamma[static_cast<Size>(c)])).epsilon(1e-11).margin(1e-11));
      CHECK(gradients.beta[c] ==
            Approx(static_cast<double>(beta[static_cast<Size>(c)])).epsilon(1e-11).margin(1e-11));
    }
  }
}

TEST_CASE("backward of ghosts, against differences of the loss") {
  Case given(2);
  const auto loss = [&] {
    Real sum = 0;
    for (const auto& [first, count] : cut_by_three) {
      const Batch ghost = samples(given.x, first, count);
      sum +=
          reference::dot(reference::forward(layer_of(given.gamma, given.beta, ghost, 1e-5L), ghost),
                         samples(given.dy, first, count));
    }
    return sum;
  };
  const auto by_x = reference::central_differences(given.x.values, loss, 1e-4L);
  const Stored<double> x(given.x, Layout::channels_last), dy(given.dy, Layout::channels_last);
  Stored<double> y = Stored<double>::like(given.x, Layout::channels_last), dx = y;
  BatchNorm<double> layer = given.layer();
  const auto batch = train_ghosts(layer, GhostBatches{3}, x.view(), y.view());
  backward_ghosts(layer, batch, x.view(), dy.view(), dx.view());
  CHECK(reference::worst_share(dx.read().values, by_x) < 1e-9L);
}

TEST_CASE("the three rules of the running statistics") {
  // Ghosts (0, 2) and (4, 8): means 1 and 6, sample variances 2 and 8; of all: 3.5 and 35/3.
  Eigen::RowVectorXd x(4), y(4);
  x << 0, 2, 4, 8;
  Options options;
  options.running = RunningUpdate::take_new(0.5);
  const auto state_after = [&](GhostUpdate update) {
    BatchNorm<double> layer(1, options);
    layer.state().running_mean[0] = 8;
    layer.state().running_variance[0] = 16;
    train_ghosts(layer, GhostBatches{2, update}, x, y);
    return layer.state();
  };
  const auto pooled = state_after(GhostUpdate::pooled);
  CHECK(pooled.running_mean[0] == 0.5 * 8 + 0.5 * 3.5);
  CHECK(pooled.running_variance[0] == Approx(0.5 * 16 + 0.5 * 35.0 / 3).epsilon(1e-15));
  CHECK(pooled.batches_seen == 1);
  CHECK(pooled.samples_seen == 4);
  const auto each = state_after(GhostUpdate::each_ghost);
  CHECK(each.running_mean[0] == 0.5 * (0.5 * 8 + 0.5 * 1) + 0.5 * 6);
  CHECK(each.running_variance[0] == 0.5 * (0.5 * 16 + 0.5 * 2) + 0.5 * 8);
  CHECK(each.batches_seen == 2);
  CHECK(each.samples_seen == 4);
  const auto scaled = state_after(GhostUpdate::each_ghost_scaled);
  CHECK(scaled.running_mean[0] == 0.75 * (0.75 * 8 + 0.25 * 1) + 0.25 * 6);
  CHECK(scaled.running_variance[0] == 0.75 * (0.75 * 16 + 0.25 * 2) + 0.25 * 8);
}

TEST_CASE("one ghost is plain training, to the bit; a residual, an epilogue and in place") {
  const Case given(3);
  Options options;
  options.epilogue = Epilogue::relu();
  BatchNorm<double> layer = given.layer(options), plain = layer;
  const Stored<double> r(given.dy, Layout::channels_first), dy(given.x, Layout::channels_first);
  Stored<double> x(given.x, Layout::channels_first);
  Stored<double> y = Stored<double>::like(given.x, Layout::channels_first), plain_y = y;
  Stored<double> dx = y, dr = y, plain_dx = y, plain_dr = y;
  const auto batch =
      train_ghosts(layer, GhostBatches{5}, with_residual(x.view(), r.view()), y.view());
  const auto plain_batch = plain.train(with_residual(x.view(), r.view()), plain_y.view());
  CHECK(y.same_bits(plain_y));
  CHECK(layer.state().running_variance == plain.state().running_variance);
  auto dx_view = dx.view(), dr_view = dr.view(), px = plain_dx.view(), pr = plain_dr.view();
  backward_ghosts(layer, batch, with_residual(x.view(), r.view()), dy.view(),
                  with_residual(dx_view, dr_view));
  plain.backward(plain_batch, with_residual(x.view(), r.view()), dy.view(), with_residual(px, pr));
  CHECK(dx.same_bits(plain_dx));
  CHECK(dr.same_bits(plain_dr));
  BatchNorm<double> again = given.layer(options), other = again;
  train_ghosts(again, GhostBatches{3}, x.view(), y.view());
  train_ghosts(other, GhostBatches{3}, x.view(), x.view());
  CHECK(x.same_bits(y));
}

TEST_CASE("what ghosts refuse changes nothing") {
  BatchNorm<double> layer(1);
  Eigen::RowVectorXd x(4), y(4);
  x << 1, 2, 4, std::numeric_limits<double>::infinity();
  const auto refuse = [&](const GhostBatches& ghosts, const auto& in, const char* text) {
    Eigen::RowVectorXd out = Eigen::RowVectorXd::Constant(4, -5);
    CHECK_THROWS_WITH(train_ghosts(layer, ghosts, in, out), Contains(text));
    CHECK((out.array() == -5).all());
    CHECK(layer.state().batches_seen == 0);
    CHECK(layer.state().running_mean[0] == 0);
  };
  // The second ghost is bad: the first has changed nothing yet, under every rule.
  for (const auto update : {GhostUpdate::pooled, GhostUpdate::each_ghost}) {
    refuse({2, update}, x, "must be finite");
  }
  x[3] = 8;
  refuse({1}, x, "examples of a ghost batch: expected at least 2");
  const Eigen::Array<bool, 4, 1> mask(true, true, true, false);
  refuse({2}, masked(x, mask), "ghosts are cut by examples");
  Options options;
  options.running = RunningUpdate::cumulative();
  BatchNorm<double> counting(1, options);
  CHECK_THROWS_WITH(train_ghosts(counting, GhostBatches{2, GhostUpdate::each_ghost_scaled}, x, y),
                    Contains("take_new or keep_old"));
  Eigen::RowVectorXd one(1), out(1);
  one << 1;
  CHECK_THROWS_WITH(train_ghosts(layer, GhostBatches{2}, one, out),
                    Contains("from two values per channel on"));
  const auto batch = train_ghosts(layer, GhostBatches{2}, x, y);
  CHECK_THROWS_WITH(backward_ghosts(layer, batch, one, one, out),
                    Contains("those of the ghosts of this input: expected 1, got 2"));
  const Eigen::MatrixXd none(1, 0);
  Eigen::MatrixXd no_output(1, 0);
  CHECK(train_ghosts(layer, GhostBatches{2}, none, no_output).of_ghost.empty());
  // A layer that skips what is not finite writes the output, and no ghost moves its statistics.
  options = {};
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> skipping(1, options);
  x[3] = std::numeric_limits<double>::infinity();
  train_ghosts(skipping, GhostBatches{2, GhostUpdate::each_ghost}, x, y);
  CHECK(skipping.state().batches_seen == 0);
  CHECK(y[0] == Approx(-0.5 / std::sqrt(0.25 + 1e-5)));
}

TEST_CASE("no ghost is written where another one is refused") {
  Eigen::RowVectorXd x(4), y = Eigen::RowVectorXd::Constant(4, -5);
  x << 1, 2, 3, 3;
  Options options;
  options.epsilon = 0;
  BatchNorm<double> flat(1, options);
  CHECK_THROWS_WITH(train_ghosts(flat, GhostBatches{2}, x, y),
                    Contains("variance + epsilon of channel 0"));
  options = {};
  options.running = RunningUpdate::population();
  for (const auto update : {GhostUpdate::pooled, GhostUpdate::each_ghost}) {
    BatchNorm<double> pooled(1, options);
    pooled.state().batches_seen = 2;
    pooled.state().samples_seen = State<double>::unknown;
    CHECK_THROWS_WITH(train_ghosts(pooled, GhostBatches{2, update}, x, y),
                      Contains("weighs by samples seen"));
  }
  BatchNorm<double> uneven(1);
  uneven.state().beta.setZero(2);
  CHECK_THROWS_AS(train_ghosts(uneven, GhostBatches{2}, x, y), std::invalid_argument);
  CHECK((y.array() == -5).all());
  // One ghost that is not finite keeps all from the statistics, be it the first one.
  options = {};
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> skipping(1, options);
  x[0] = std::numeric_limits<double>::infinity();
  const auto batch = train_ghosts(skipping, GhostBatches{2}, x, y);
  CHECK(skipping.state().batches_seen == 0);
  const Eigen::Array<bool, 4, 1> mask(true, true, true, false);
  CHECK_THROWS_WITH(backward_ghosts(skipping, batch, masked(x, mask), x, y),
                    Contains("ghosts are cut by examples"));
}
