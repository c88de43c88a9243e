// SPDX-License-Identifier: MIT
#include "batchnorm/math/second_order.hpp"

#include "support/catch.hpp"
#include "support/exact_layer.hpp"

using namespace batchnorm;
using batchnorm_test::ExactLayer;

// The coefficients against the formulas of the derivation, worked out by hand.

TEST_CASE("coefficients of double backward") {
  const ExactLayer exact;
  auto norm = exact.norm();
  double to_gamma = 0;
  // sum v, sum v h, sum g, sum g h, sum v g: a = 2, b = 3, S = 4, T = 8, so A = 40 - 8 - 24 = 8.
  const double sums[] = {8, 12, 4, 8, 40};
  const double* const tables[] = {sums, sums + 1, sums + 2, sums + 3, sums + 4};
  detail::SecondOrderCoefficients<double>(norm, &to_gamma).write(0, 1, tables);
  CHECK(to_gamma == 4);  // r A
  // To x, with q = -gamma r^2 = -1/2: g has e = q b + u r = 0, v has q T / 4, and h has
  // (q (A - b T) - e T) / 4 = 2.
  CHECK(norm.tables.k(1)[0] == 0);
  CHECK(norm.tables.k(4)[0] == -1);
  CHECK(norm.tables.k(2)[0] == 1);  // of h 2, times r
  CHECK(norm.tables.k(3)[0] == 2);  // -(q T a + 0) / 4
  // To g: gamma r P v + u h + t.
  CHECK(norm.tables.k(5)[0] == 1);
  CHECK(norm.tables.k(6)[0] == 0);  // (3 - 3) r
  CHECK(norm.tables.k(7)[0] == 3);  // 5 - 2
}

TEST_CASE("coefficients of double backward with constant statistics") {
  const ExactLayer exact;
  auto norm = exact.norm(true);
  double to_gamma = 0;
  const double sums[] = {8, 12, 4, 8, 40};
  const double* const tables[] = {sums, sums + 1, sums + 2, sums + 3, sums + 4};
  detail::SecondOrderCoefficients<double>(norm, &to_gamma).write(0, 1, tables);
  CHECK(to_gamma == 20);              // r sum v g
  CHECK(norm.tables.k(1)[0] == 1.5);  // u r
  CHECK(norm.tables.k(2)[0] == 0);
  CHECK(norm.tables.k(3)[0] == 0);
  CHECK(norm.tables.k(4)[0] == 0);
  CHECK(norm.tables.k(5)[0] == 1);    // gamma r
  CHECK(norm.tables.k(6)[0] == 1.5);  // u r
  CHECK(norm.tables.k(7)[0] == 5);    // t
}
