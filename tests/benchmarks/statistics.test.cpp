// SPDX-License-Identifier: MIT
#include "benchmarks/statistics.hpp"

#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
namespace bench = batchnorm_benchmarks;

TEST_CASE("quantiles are interpolated between neighbours") {
  const std::vector<double> values = {40.0, 10.0, 30.0, 20.0};
  CHECK_THAT(bench::quantile(values, 0.0), WithinAbs(10.0, 1e-12));
  CHECK_THAT(bench::quantile(values, 0.25), WithinAbs(17.5, 1e-12));
  CHECK_THAT(bench::median(values), WithinAbs(25.0, 1e-12));
  CHECK_THAT(bench::quantile(values, 1.0), WithinAbs(40.0, 1e-12));
  CHECK_THAT(bench::median({3.0, 1.0, 2.0}), WithinAbs(2.0, 1e-12));
  CHECK_THAT(bench::median({7.0}), WithinAbs(7.0, 1e-12));
  CHECK_THAT(bench::median({}), WithinAbs(0.0, 0.0));
}

TEST_CASE("ratios have a geometric mean") {
  CHECK_THAT(bench::geometric_mean({2.0, 8.0}), WithinAbs(4.0, 1e-12));
  CHECK_THAT(bench::geometric_mean({0.5, 2.0, 1.0}), WithinAbs(1.0, 1e-12));
  CHECK_THAT(bench::geometric_mean({}), WithinAbs(0.0, 0.0));
}

TEST_CASE("noise is the distance of the quartiles as a share of the median") {
  const bench::Timing timing = bench::timing_of({1.0, 2.0, 4.0, 5.0, 100.0});
  CHECK_THAT(timing.seconds, WithinAbs(4.0, 1e-12));
  CHECK_THAT(timing.noise, WithinAbs(0.75, 1e-12));
  CHECK_THAT(bench::timing_of({}).noise, WithinAbs(0.0, 0.0));
}

TEST_CASE("slower means slower by more than the noise of both") {
  const bench::Timing fast = {100.0, 0.04};
  CHECK_FALSE(bench::is_slower({109.0, 0.06}, fast));
  CHECK(bench::is_slower({111.0, 0.06}, fast));
  CHECK_FALSE(bench::is_slower({90.0, 0.0}, fast));
}
