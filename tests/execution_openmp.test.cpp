// SPDX-License-Identifier: MIT
// The loops on OpenMP's threads, in a program that is compiled with OpenMP.
#include <cstddef>
#include <vector>

#include "batchnorm/execution.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using namespace batchnorm_test;

#if defined(_OPENMP)

TEST_CASE("OpenMP has the threads of Eigen") {
  const int before = Eigen::nbThreads();
  Eigen::setNbThreads(3);
  CHECK(batchnorm::openmp().threads() == 3);
  Eigen::setNbThreads(before);
}

TEST_CASE("OpenMP runs every task once, with the bits of serial work") {
  const int before = Eigen::nbThreads();
  Eigen::setNbThreads(4);
  const batchnorm::Execution execution = batchnorm::openmp();
  std::vector<int> runs(1000, 0);
  execution.for_each(1000, [&](Index task) { ++runs[static_cast<std::size_t>(task)]; });
  CHECK(runs == std::vector<int>(1000, 1));

  Random random(71);
  const Stored<double> stored(normal_batch(random, 140001, 1, 1, -3), Layout::channels_first);
  const auto alone = power_sums<double, double>(batchnorm::Execution(), stored.view());
  const auto together = power_sums<double, double>(execution, stored.view());
  CHECK(together == alone);
  Eigen::setNbThreads(before);
}

#else

TEST_CASE("without OpenMP nothing is tried") {
  WARN("left out: this program was compiled without OpenMP");
}

#endif
