// SPDX-License-Identifier: MIT
// Statistics that are no longer those of the network, and how they are meant all the same.
#include "batchnorm/frozen.hpp"

#include <stdexcept>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("stale statistics are refused, unless they are accepted", "[frozen]") {
  State<double> state(2);
  state.set_statistics(Eigen::Vector2d(1, -1), Eigen::Vector2d(4, 16));
  Options options;
  options.epsilon = 0;
  const Eigen::Vector2d x(5, 7), expected(2, 2);
  const FrozenBatchNorm<double> fresh(state, options);
  CHECK(fresh(x) == expected);
  CHECK(FrozenBatchNorm<double>(state, options, StaleStatistics::accept)(x) == expected);
  state.mark_stale(Staleness::weights_averaged);
  CHECK_THROWS_MATCHES(FrozenBatchNorm<double>(state, options), std::domain_error,
                       says("where the old ones are meant, FrozenBatchNorm(state, options, "
                            "StaleStatistics::accept), got statistics from before the weights"));
  CHECK_THROWS_AS(FrozenBatchNorm<double>(state, options, StaleStatistics::refuse),
                  std::domain_error);
  CHECK(FrozenBatchNorm<double>(state, options, StaleStatistics::accept)(x) == expected);
}
