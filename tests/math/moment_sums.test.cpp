// SPDX-License-Identifier: MIT
#include "batchnorm/math/moment_sums.hpp"

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("moments are summed about a pivot, and shifted from it") {
  const detail::FormulaOptions<double> options{1.0, 1.0};
  const double pivot = 2.0;
  double sums[2] = {0, 0};
  for (const double x : {1.0, 4.0, 7.0}) {
    detail::MomentSums::add<true>(sums, &x, &pivot, options);
  }
  CHECK(sums[0] == 6.0);   // -1 + 2 + 5
  CHECK(sums[1] == 30.0);  // 1 + 4 + 25
  double offset = 0, lost = 0;
  detail::MomentAlgebra<double>{3.0, false}.about_pivot(offset, lost, sums[0]);
  CHECK(pivot + offset == 4.0);
  CHECK(sums[1] - lost == 18.0);
}
