// SPDX-License-Identifier: MIT
// Masks and weights on ranks that are threads. Also run under ThreadSanitizer.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/rank_steps.hpp"
#include "support/rank_threads.hpp"
#include "support/shards.hpp"
#include "support/weighted_reference.hpp"

using batchnorm::BatchNorm;
using batchnorm::Gradients;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::ParameterGradients;
using batchnorm::Synchronize;
using batchnorm::SynchronizeOptions;
using namespace batchnorm_test;

namespace {

/// A minibatch of three channels whose elements have weights, and a step on shards of it.
struct Weighed {
  Batch x, dy;
  std::vector<Real> w;
  bool mask;

  template <class Exchange = ThreadExchange>
  Steps<double> steps(const std::vector<Size>& sizes, const SynchronizeOptions& options,
                      const Options& layer_options = {}) const {
    const auto x_parts = shards_of(x, sizes), dy_parts = shards_of(dy, sizes);
    Steps<double> steps(sizes.size());
    const auto run = [&](int rank, Synchronize& together) {
      const Size own = static_cast<Size>(rank);
      const Size first = std::accumulate(sizes.begin(), sizes.begin() + rank, Size(0));
      const auto weights = weight_matrix(w, first, sizes[own], x.positions);
      BatchNorm<double> layer = some_layer<double>(x.channels, layer_options);
      const Stored<double> in(x_parts[own], Layout::channels_last);
      const auto go = [&](const auto& input) {
        steps[own] = step_on(layer, input, in, dy_parts[own], Layout::channels_last, together);
      };
      if (mask) {
        go(batchnorm::masked(in.view(), weights > 0.0));
      } else {
        go(batchnorm::weighted(in.view(), weights, batchnorm::Weights::reliability));
      }
    };
    const int ranks = static_cast<int>(sizes.size());
    CHECK(run_together<Exchange>(ranks, options, run) == std::vector<std::string>(sizes.size()));
    return steps;
  }

  void check(const Steps<double>& steps) const {
    const BatchNorm<double> plain = some_layer<double>(x.channels);
    const WeightedStep expected =
        weighted_step(x, dy, w, to_real(plain.state().gamma), to_real(plain.state().beta), 1e-5L);
    check_same_statistics(steps);
    const auto& batch = steps[0].batch;
    CHECK(batch.count == static_cast<Index>(expected.count));
    CHECK(std::fabs(batch.weight() - expected.weight) <= 1e-13L * expected.weight);
    CHECK(std::fabs(batch.squared_weight() - expected.squared_weight) <=
          1e-13L * expected.squared_weight);
    CHECK(batch.weights() ==
          (mask ? batchnorm::Weights::frequency : batchnorm::Weights::reliability));
    CHECK(gap(outputs_of(steps, &Step<double>::y).values, expected.y.values) < near);
    CHECK(gap(outputs_of(steps, &Step<double>::dx).values, expected.dx.values) < near);
    CHECK(gap(sum_of(steps, &Gradients<double>::gamma), expected.gamma) < near);
    CHECK(gap(sum_of(steps, &Gradients<double>::beta), expected.beta) < near);
    PerChannel variance;
    const Real lost = mask ? 1 : expected.squared_weight / expected.weight;
    for (const Real biased : expected.variance) {
      variance.push_back(0.9L + 0.1L * biased * expected.weight / (expected.weight - lost));
    }
    CHECK(gap(to_real(steps[0].state.running_variance), variance) < near);
  }
};

Weighed some_weighed(Random& random, Size samples, Size positions, bool mask) {
  return {stored_as<double>(normal_batch(random, samples, 3, positions, 2)),
          stored_as<double>(normal_batch(random, samples, 3, positions)),
          random_weights(random, samples * positions, mask), mask};
}

}  // namespace

TEST_CASE("masks and weights go over ranks as the oracle has them") {
  Random random(8);
  for (const bool mask : {true, false}) {
    for (const Size positions : {Size(1), Size(5)}) {
      Weighed problem = some_weighed(random, 41, positions, mask);
      // The last shard is all padding; its outputs have gradients, which are part of the sums.
      std::fill(problem.w.end() - static_cast<std::ptrdiff_t>(4 * positions), problem.w.end(),
                Real(0));
      for (const auto& sizes : std::vector<std::vector<Size>>{{41}, {0, 37, 4}, {7, 1, 29, 4}}) {
        CAPTURE(mask, positions, sizes.size());
        problem.check(problem.steps(sizes, {}));
        SynchronizeOptions options;
        options.block = 3;  // no divisor of the shards
        problem.check(problem.steps(sizes, options));
        options.block = 0;
        options.gather_at_most = 0;
        problem.check(problem.steps<SummingExchange>(sizes, options));
      }
    }
  }
}

TEST_CASE("weights on one rank only weigh in the statistics of all") {
  Random random(9);
  Weighed problem = some_weighed(random, 20, 2, false);
  std::fill(problem.w.begin(), problem.w.begin() + 2 * 9, Real(1));  // of the first shard
  problem.check(problem.steps({9, 11}, {}));
}

TEST_CASE("with blocks the bits of masked and weighted minibatches are those of one rank") {
  Random random(10);
  SynchronizeOptions options;
  options.block = 4;
  options.parameter_gradients = ParameterGradients::of_all_ranks;
  for (const bool mask : {true, false}) {
    Weighed problem = some_weighed(random, 38, 3, mask);
    std::fill(problem.w.begin() + 3 * 8, problem.w.begin() + 3 * 12, Real(0));  // a whole block
    const auto one = problem.steps({38}, options);
    for (const auto& sizes : std::vector<std::vector<Size>>{{20, 18}, {8, 4, 0, 26}, {4, 32, 2}}) {
      const auto steps = problem.steps(sizes, options);
      CHECK(steps[0].batch.mean == one[0].batch.mean);
      CHECK(steps[0].batch.sum_of_squares == one[0].batch.sum_of_squares);
      CHECK(steps[0].batch.weight() == one[0].batch.weight());
      CHECK(steps[0].batch.squared_weight() == one[0].batch.squared_weight());
      CHECK(steps[0].state.running_variance == one[0].state.running_variance);
      CHECK(steps[0].gradients.gamma == one[0].gradients.gamma);
      CHECK(outputs_of(steps, &Step<double>::y).values == one[0].y.values);
      CHECK(outputs_of(steps, &Step<double>::dx).values == one[0].dx.values);
    }
  }
}
