// SPDX-License-Identifier: MIT
// Statistics that several ranks take anew.
#include <cmath>
#include <string>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "batchnorm/recalibrate/reestimate.hpp"
#include "support/catch.hpp"
#include "support/rank_threads.hpp"
#include "support/shards.hpp"

using batchnorm::BatchNorm;
using batchnorm::Index;
using batchnorm::Synchronize;
using Eigen::MatrixXd;
using namespace batchnorm_test;

TEST_CASE("statistics are taken anew from the data of all ranks") {
  Random random(9);
  const Batch all = stored_as<double>(normal_batch(random, 48, 2, 1, 2));
  const auto parts = shards_of(all, {16, 16, 16});
  std::vector<batchnorm::State<double>> states(3, batchnorm::State<double>(2));
  const auto errors = run_together(3, {}, [&](int rank, Synchronize& together) {
    BatchNorm<double> layer(2);
    const Stored<double> x(parts[static_cast<Size>(rank)], Layout::channels_first);
    const Eigen::Map<const MatrixXd> data(x.view().data(), 2, 16);
    batchnorm::ReestimationOptions options;
    options.execution = together;
    batchnorm::reestimate(
        layer, {16, 4},
        [&](Index first, Index count) -> MatrixXd { return data.middleCols(first, count); },
        options);
    states[static_cast<Size>(rank)] = layer.state();
  });
  CHECK(errors == std::vector<std::string>(3));
  const PerChannel mean = reference::mean(all), variance = reference::variance(all, mean);
  for (const auto& state : states) {
    CHECK(state.samples_seen == 48);
    CHECK(state.batches_seen == 4);
    for (Size c = 0; c < 2; ++c) {
      const Index channel = static_cast<Index>(c);
      CHECK(std::fabs(state.running_mean[channel] - mean[c]) < 1e-12L);
      CHECK(std::fabs(state.running_variance[channel] - variance[c] * 48 / 47) < 1e-12L);
      CHECK(state.running_variance[channel] == states[0].running_variance[channel]);
    }
  }
}
