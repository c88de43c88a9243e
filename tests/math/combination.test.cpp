// SPDX-License-Identifier: MIT
#include "batchnorm/math/combination.hpp"

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

const double values[] = {5, 3, 7};                 // x, g, v
const double k[] = {2, 10, 100, 1, 20, 30, 4, 5};  // centred x is 3

}  // namespace

TEST_CASE("two operands: k1 g + centred k2 + k3") {
  double y[2] = {};
  detail::Combination::apply<true>(y, values, k, {1.0, 1.0});
  CHECK(y[0] == 10 * 3 + 3 * 100 + 1);
  y[0] = 0;
  detail::Combination::apply<false>(y, values, k, {1.0, 1.0});
  CHECK(y[0] == 331);
}

TEST_CASE("three operands: a term in v, and a second output") {
  detail::FormulaOptions<double> options{1.0, 1.0};
  options.rectified = options.residual = true;
  double y[2] = {};
  detail::Combination::apply<false>(y, values, k, options);
  CHECK(y[0] == 331 + 20 * 7);
  CHECK(y[1] == 30 * 7 + 3 * 4 + 5);
  options.fixed_statistics = true;
  detail::Combination::apply<false>(y, values, k, options);
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

TEST_CASE("coefficients of h become those of the centred value and a summand") {
  // h = (x - mean) r = centred r - (mean - pivot) r
  detail::CombinationTables<float> tables(2);
  CHECK(tables.channels() == 2);
  tables.inverse()[1] = 0.5;
  tables.pivot_error()[1] = 0.25;
  tables.set(1, 1, 3.0);
  tables.set_linear(2, 1, 8.0, 1.5);
  CHECK(tables.table(1)[1] == 3.0f);
  CHECK(tables.table(2)[1] == 4.0f);   // 8 r
  CHECK(tables.table(3)[1] == -0.5f);  // 1.5 - 8 * 0.25
  CHECK(tables.table(3)[0] == 0.0f);
}
