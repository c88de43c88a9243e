// SPDX-License-Identifier: MIT
// A layer on OpenMP's threads, in a program that is compiled with OpenMP.
#include <cstddef>
#include <vector>

#include "batchnorm/execution.hpp"
#include "batchnorm/math/moments.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using namespace batchnorm_test;

using batchnorm::Index;

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
  const auto alone = batchnorm::moments_of(stored.view());
  const auto together = batchnorm::moments_of(stored.view(), execution);
  CHECK(together.mean == alone.mean);
  CHECK(together.sum_of_squares == alone.sum_of_squares);
  Eigen::setNbThreads(before);
}

#else

TEST_CASE("without OpenMP nothing is tried") {
  WARN("left out: this program was compiled without OpenMP");
}

#endif
