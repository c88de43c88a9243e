// SPDX-License-Identifier: MIT
// Ranks that are processes.
#if defined(__unix__) || defined(__APPLE__)
#include <cmath>
#include <cstddef>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "support/catch.hpp"
#include "support/rank_pipes.hpp"
#include "support/shards.hpp"

using batchnorm::BatchNorm;
using batchnorm::Synchronize;
using namespace batchnorm_test;

TEST_CASE("ranks that are processes, behind pipes") {
  Random random(8);
  const Batch x = stored_as<double>(normal_batch(random, 40, 3, 4, 2));
  const std::vector<Size> sizes = {7, 0, 32, 1};
  const auto parts = shards_of(x, sizes);
  BatchNorm<double> whole = some_layer<double>(3);
  const Step<double> expected = step_of(whole, x, x, Layout::channels_first, {});
  const auto expected_dx = shards_of(expected.dx, sizes);
  const bool good = run_processes(4, [&](std::size_t rank, const std::vector<PipePair>& pipes) {
    PipeExchange exchange{pipes, rank};
    Synchronize together(exchange, static_cast<int>(rank), 4);
    BatchNorm<double> layer = some_layer<double>(3);
    const auto step = step_of(layer, parts[rank], parts[rank], Layout::channels_first, together);
    bool near = step.state.samples_seen == 160 &&
                step.state.running_mean.isApprox(expected.state.running_mean, 1e-12) &&
                step.state.running_variance.isApprox(expected.state.running_variance, 1e-12);
    for (Size i = 0; i < step.dx.values.size(); ++i) {
      near = near && std::fabs(step.dx.values[i] - expected_dx[rank].values[i]) < 1e-12L;
    }
    return near;
  });
  CHECK(good);
}
#endif
