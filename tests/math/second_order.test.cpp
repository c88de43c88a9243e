// SPDX-License-Identifier: MIT
#include "batchnorm/math/second_order.hpp"

#include "support/catch.hpp"

using namespace batchnorm;

// The coefficients against the formulas of the derivation, worked out by hand for one channel of
// four values with r = 1/2, gamma = 2 and a pivot that is the mean.

namespace {

struct Exact {
  Options options;
  State<double> state{1};
  Moments<double> batch{1};
  double u = 3, t = 5;
  Exact() {
    options.epsilon = 0;
    state.gamma[0] = 2;
    batch.count = 4;
    batch.mean[0] = 1;
    batch.sum_of_squares[0] = 16;
  }
  detail::LinearizedNorm<double> norm(bool fixed) const {
    detail::MinibatchDivisor<double> divisor(batch);
    divisor.fixed = fixed;
    return {options, state, detail::statistics_of(batch), divisor, {&u, &t}};
  }
};

}  // namespace

TEST_CASE("coefficients of jvp") {
  const Exact exact;
  auto norm = exact.norm(false);
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

TEST_CASE("coefficients of double backward") {
  const Exact exact;
  auto norm = exact.norm(false);
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
  const Exact exact;
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
