// SPDX-License-Identifier: MIT
// Ranks that are threads: what they compute together. Also run under ThreadSanitizer.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "support/catch.hpp"
#include "support/rank_steps.hpp"
#include "support/rank_threads.hpp"
#include "support/shards.hpp"

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Gradients;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::ParameterGradients;
using batchnorm::Synchronize;
using batchnorm::SynchronizeOptions;
using namespace batchnorm_test;

namespace {

/// One step on every rank; ranks.size() ranks.
template <class T, class Exchange = ThreadExchange>
Steps<T> steps_of(const std::vector<Batch>& x, const std::vector<Batch>& dy,
                  const SynchronizeOptions& options, Layout layout = Layout::channels_first) {
  Steps<T> steps(x.size());
  const auto run = [&](int rank, Synchronize& together) {
    const Size own = static_cast<Size>(rank);
    BatchNorm<T> layer = some_layer<T>(x[own].channels);
    steps[own] = step_of(layer, x[own], dy[own], layout, together);
  };
  const int ranks = static_cast<int>(x.size());
  CHECK(run_together<Exchange>(ranks, options, run) == std::vector<std::string>(x.size()));
  return steps;
}

/// Against the oracle on the whole minibatch: outputs, gradients, moments, running statistics.
void check_against_oracle(const Steps<double>& steps, const Batch& x, const Batch& dy,
                          bool all_ranks) {
  const BatchNorm<double> plain = some_layer<double>(x.channels);
  const PerChannel mean = reference::mean(x), variance = reference::variance(x, mean);
  const reference::Layer oracle{to_real(plain.state().gamma), to_real(plain.state().beta), mean,
                                variance, 1e-5L};
  CHECK(gap(outputs_of(steps, &Step<double>::y).values, reference::forward(oracle, x).values) <
        near);
  const reference::Gradients expected = reference::backward(oracle, x, dy, true);
  CHECK(gap(outputs_of(steps, &Step<double>::dx).values, expected.x.values) < near);
  for (const auto& [part, whole] : {std::pair(&Gradients<double>::gamma, &expected.gamma),
                                    std::pair(&Gradients<double>::beta, &expected.beta)}) {
    if (all_ranks) {
      for (const Step<double>& step : steps) {
        CHECK(gap(to_real(step.gradients.*part), *whole) < near);
      }
    } else {
      CHECK(gap(sum_of(steps, part), *whole) < near);
    }
  }
  const Real n = x.count();
  PerChannel running_mean, running_variance;
  for (Size c = 0; c < x.channels; ++c) {
    running_mean.push_back(0.1L * mean[c]);
    running_variance.push_back(0.9L + 0.1L * variance[c] * n / (n - 1));
  }
  CHECK(gap(to_real(steps[0].state.running_mean), running_mean) < near);
  CHECK(gap(to_real(steps[0].state.running_variance), running_variance) < near);
  CHECK(steps[0].batch.count == static_cast<Index>(x.samples * x.positions));
  CHECK(steps[0].state.samples_seen == steps[0].batch.count);
}

}  // namespace

TEST_CASE("ranks with uneven shards compute what one machine does with all of them") {
  Random random(1);
  const std::vector<std::vector<Size>> cuts = {{108}, {54, 54}, {0, 107, 1}, {7, 0, 1, 100}};
  for (const std::vector<Size>& sizes : cuts) {
    for (const Size positions : {Size(1), Size(6)}) {
      const Batch x = stored_as<double>(normal_batch(random, 108, 5, positions, 3));
      const Batch dy = stored_as<double>(normal_batch(random, 108, 5, positions));
      for (const auto whose :
           {ParameterGradients::of_this_rank, ParameterGradients::of_all_ranks}) {
        const bool all_ranks = whose == ParameterGradients::of_all_ranks;
        SynchronizeOptions options;
        options.parameter_gradients = whose;
        const auto steps = steps_of<double>(shards_of(x, sizes), shards_of(dy, sizes), options);
        check_same_statistics(steps);
        check_against_oracle(steps, x, dy, all_ranks);
        options.gather_at_most = 0;
        const auto summed =
            steps_of<double, SummingExchange>(shards_of(x, sizes), shards_of(dy, sizes), options);
        check_same_statistics(summed);
        check_against_oracle(summed, x, dy, all_ranks);
      }
    }
  }
}

TEST_CASE("sums over ranks are as exact as merging, far from zero") {
  Random random(2);
  const std::vector<Size> sizes = {40, 0, 1, 30};
  const Batch x = stored_as<double>(normal_batch(random, 71, 3, 2, 1e6L));
  SynchronizeOptions options;
  options.gather_at_most = 0;
  const auto steps =
      steps_of<double, SummingExchange>(shards_of(x, sizes), shards_of(x, sizes), options);
  const PerChannel mean = reference::mean(x), variance = reference::variance(x, mean);
  for (Size c = 0; c < x.channels; ++c) {
    const Index channel = static_cast<Index>(c);
    CHECK(std::fabs(steps[0].batch.mean[channel] - mean[c]) <= 2e-10L);  // two units at 1e6
    // As well as it can be told from means of shards, which are rounded there.
    CHECK(std::fabs(steps[0].batch.sum_of_squares[channel] / x.count() / variance[c] - 1) < 1e-10L);
  }
}

TEST_CASE("sums over ranks that all have one value are that value") {
  // Six times it, rounded, is not six times it.
  constexpr double value = 1 + 0x1p-51;
  SynchronizeOptions options;
  options.gather_at_most = 0;
  std::vector<batchnorm::Moments<double>> moments(6);
  const auto errors =
      run_together<SummingExchange>(6, options, [&](int rank, Synchronize& together) {
        BatchNorm<double> layer(1);
        Eigen::Matrix<double, 1, 1> x(value), y;
        moments[static_cast<Size>(rank)] = layer.train(x, y, together);
      });
  CHECK(errors == std::vector<std::string>(6));
  for (const auto& batch : moments) {
    CHECK(batch.mean[0] == value);
    CHECK(batch.sum_of_squares[0] == 0);
  }
}

TEST_CASE("with blocks the bits do not depend on the number of ranks") {
  Random random(3);
  constexpr Size block = 8;
  SynchronizeOptions options;
  options.block = static_cast<Index>(block);
  options.parameter_gradients = ParameterGradients::of_all_ranks;
  const std::vector<std::vector<Size>> cuts = {
      {77}, {40, 37}, {8, 0, 69}, {16, 24, 8, 29}, {0, 72, 0, 5, 0}, {8, 8, 8, 8, 45}};
  for (const Layout layout : all_layouts) {
    for (const Size positions : {Size(1), Size(9)}) {
      const Batch x = stored_as<float>(normal_batch(random, 77, 6, positions, 2));
      const Batch dy = stored_as<float>(normal_batch(random, 77, 6, positions));
      Steps<float> one;
      for (const std::vector<Size>& sizes : cuts) {
        CAPTURE(name_of(layout), positions, sizes.size());
        const auto steps =
            steps_of<float>(shards_of(x, sizes), shards_of(dy, sizes), options, layout);
        check_same_statistics(steps);
        if (one.empty()) one = steps;
        CHECK(steps[0].batch.mean == one[0].batch.mean);
        CHECK(steps[0].batch.sum_of_squares == one[0].batch.sum_of_squares);
        CHECK(steps[0].state.running_variance == one[0].state.running_variance);
        CHECK(steps[0].gradients.gamma == one[0].gradients.gamma);
        CHECK(steps[0].gradients.beta == one[0].gradients.beta);
        CHECK(outputs_of(steps, &Step<float>::y).values == one[0].y.values);
        CHECK(outputs_of(steps, &Step<float>::dx).values == one[0].dx.values);
      }
    }
  }
}

TEST_CASE("blocks of other sizes, and none, agree to rounding") {
  Random random(4);
  const Batch x = stored_as<double>(normal_batch(random, 50, 4, 3, 5));
  for (const Index block : {1, 3, 7, 64}) {
    SynchronizeOptions options;
    options.block = block;
    const std::vector<Size> sizes = {13, 20, 17};  // no multiples
    const auto steps = steps_of<double>(shards_of(x, sizes), shards_of(x, sizes), options);
    check_same_statistics(steps);
    check_against_oracle(steps, x, x, false);
  }
}

TEST_CASE("ranks with one value each, and ranks without any") {
  Random random(5);
  const Batch two = stored_as<double>(normal_batch(random, 2, 3, 1));
  const auto steps = steps_of<double>(shards_of(two, {1, 1}), shards_of(two, {1, 1}), {});
  check_same_statistics(steps);
  check_against_oracle(steps, two, two, false);

  const Batch none{0, 3, 1};
  for (const Index block : {0, 4}) {
    SynchronizeOptions options;
    options.block = block;
    const auto empty = steps_of<double>({none, none}, {none, none}, options);
    CHECK(empty[1].batch.count == 0);
    CHECK(empty[1].state.batches_seen == 0);
    CHECK(empty[1].gradients.gamma == Eigen::Vector3d::Zero());
  }
}

TEST_CASE("scalars, residuals and epilogues go over ranks as they do on one machine") {
  Random random(6);
  Options options = Options::keras();
  options.epilogue = batchnorm::Epilogue::relu();
  const std::vector<Size> sizes = {9, 0, 23};
  const Batch x = stored_as<float>(normal_batch(random, 32, 4, 5));
  const Batch r = stored_as<float>(normal_batch(random, 32, 4, 5));
  const auto x_parts = shards_of(x, sizes), r_parts = shards_of(r, sizes);
  std::vector<Batch> dx(3, x), dr(3, x), y(3, x);
  const auto pass = [&](const Batch& in, const Batch& residual, const Execution& execution,
                        Batch& y_of, Batch& dx_of, Batch& dr_of) {
    BatchNorm<float> layer = some_layer<float>(4, options);
    const Stored<float> sx(in, Layout::channels_first), sr(residual, Layout::channels_last);
    Stored<float> sy = Stored<float>::like(in, Layout::channels_first), sdx = sy, sdr = sy;
    const auto batch = layer.train(with_residual(sx.view(), sr.view()), sy.view(), execution);
    layer.backward(batch, with_residual(sx.view(), sr.view()), sx.view(),
                   with_residual(sdx.view(), sdr.view()), execution);
    y_of = sy.read();
    dx_of = sdx.read();
    dr_of = sdr.read();
  };
  const auto errors = run_together(3, {}, [&](int rank, Synchronize& together) {
    const Size own = static_cast<Size>(rank);
    pass(x_parts[own], r_parts[own], together, y[own], dx[own], dr[own]);
  });
  CHECK(errors == std::vector<std::string>(3));
  Batch all_y = x, all_dx = x, all_dr = x;
  pass(x, r, Execution(), all_y, all_dx, all_dr);
  CHECK(gap(joined(y).values, all_y.values) < 1e-6L);
  CHECK(gap(joined(dx).values, all_dx.values) < 1e-6L);
  CHECK(joined(dr).values == all_dr.values);
}

TEST_CASE("backward from the output goes over ranks, too") {
  Random random(7);
  const std::vector<Size> sizes = {11, 21};
  const Batch x = stored_as<double>(normal_batch(random, 32, 4, 3));
  const auto parts = shards_of(x, sizes);
  std::vector<Batch> from_output(2, x), from_input(2, x);
  const auto errors = run_together(2, {}, [&](int rank, Synchronize& together) {
    const Size own = static_cast<Size>(rank);
    BatchNorm<double> layer = some_layer<double>(4);
    const Stored<double> in(parts[own], Layout::channels_last);
    Stored<double> y = in, dx = in;
    const auto batch = layer.train(in.view(), y.view(), together);
    layer.backward_from_output(batch, y.view(), in.view(), dx.view(), together);
    from_output[own] = dx.read();
    layer.backward(batch, in.view(), in.view(), dx.view(), together);
    from_input[own] = dx.read();
  });
  CHECK(errors == std::vector<std::string>(2));
  CHECK(gap(joined(from_output).values, joined(from_input).values) < near);
}
