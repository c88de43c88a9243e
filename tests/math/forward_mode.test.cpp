// SPDX-License-Identifier: MIT
#include "batchnorm/math/forward_mode.hpp"

#include "support/catch.hpp"
#include "support/exact_layer.hpp"

using namespace batchnorm;
using batchnorm_test::ExactLayer;

TEST_CASE("coefficients of jvp") {
  const ExactLayer exact;
  auto norm = exact.norm();
  const double sums[] = {8, 12, 0, 0, 0};
  const double* const tables[] = {sums, sums + 1, sums + 2, sums + 3, sums + 4};
  detail::JvpCoefficients<double>(norm).write(0, 1, tables);
  CHECK(norm.tables.k(1)[0] == 1);  // gamma r
  CHECK(norm.tables.k(2)[0] == 0);  // (dgamma - gamma r 12/4) r
  CHECK(norm.tables.k(3)[0] == 3);  // dbeta - gamma r 8/4
  auto fixed = exact.norm(true);
  detail::JvpCoefficients<double>(fixed).write(0, 1, tables);
  CHECK(fixed.tables.k(1)[0] == 1);
  CHECK(fixed.tables.k(2)[0] == 1.5);  // dgamma r
  CHECK(fixed.tables.k(3)[0] == 5);    // dbeta
}
