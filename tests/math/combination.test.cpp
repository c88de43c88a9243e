// SPDX-License-Identifier: MIT
#include "batchnorm/math/combination.hpp"

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

const double values[] = {5, 3, 7};                 // x, g, v
const double k[] = {2, 10, 100, 1, 20, 30, 4, 5};  // centred x is 3

}  // namespace

TEST_CASE("two operands: k1 v + centred k2 + k3") {
  double y = 0;
  detail::Combination::apply<true>(&y, values, k, {1.0, 1.0});
  CHECK(y == 10 * 3 + 3 * 100 + 1);
}

TEST_CASE("three operands and two outputs; constant statistics leave the term in g") {
  detail::FormulaOptions<double> options{1.0, 1.0};
  double y[2] = {};
  detail::TwoCombinations::apply<true>(y, values, k, options);
  CHECK(y[0] == 331 + 20 * 7);
  CHECK(y[1] == 30 * 7 + 3 * 4 + 5);
  options.fixed_statistics = true;
  detail::TwoCombinations::apply<true>(y, values, k, options);
  CHECK(y[0] == 30);
  CHECK(y[1] == 227);
}

TEST_CASE("the five sums of products, h = (x - pivot) r") {
  double sums[] = {1, 1, 1, 1, 1};
  const double pivot_and_r[] = {2, 0.5};
  detail::ProductTerms::add<true>(sums, values, pivot_and_r, {1.0, 1.0});
  CHECK(sums[0] == 1 + 7);
  CHECK(sums[1] == 1 + 7 * 1.5);
  CHECK(sums[2] == 1 + 3);
  CHECK(sums[3] == 1 + 3 * 1.5);
  CHECK(sums[4] == 1 + 21);
}

TEST_CASE("a value that is the pivot beside zeros adds nothing") {
  double sums[] = {0, 0, 0, 0, 0};
  const double nothing[] = {2, 0, 0}, pivot_and_r[] = {2, 0.5};
  detail::ProductTerms::add<true>(sums, nothing, pivot_and_r, {1.0, 1.0});
  for (const double sum : sums) CHECK(sum == 0);
}

TEST_CASE("tables lie one behind the other") {
  detail::CombinationTables<float> tables(3);
  CHECK(tables.channels() == 3);
  CHECK(tables.pivot() == tables.k(0));
  CHECK(tables.k(5) == tables.k(0) + 15);
  CHECK(tables.inverse() == tables.k(7) + 3);
  CHECK(tables.pivot_error() == tables.wide_inverse() + 3);
}

TEST_CASE("coefficients of h become those of the centred value and a summand") {
  // h = (x - mean) r = centred r - (mean - pivot) r
  float multiplier[2] = {}, constant[2] = {};
  detail::store_linear<double, 1>(multiplier, constant, {1}, 8.0, 1.5, 0.5, 0.25);
  CHECK(multiplier[1] == 4.0f);  // 8 r
  CHECK(constant[1] == -0.5f);   // 1.5 - 8 * 0.25
  CHECK(constant[0] == 0.0f);
}
