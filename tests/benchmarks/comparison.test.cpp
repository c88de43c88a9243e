// SPDX-License-Identifier: MIT
#include "benchmarks/comparison.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using namespace batchnorm_benchmarks;

namespace {

Row row_of(Work work, Element element = Element::f32) {
  return {work, {Layout::rows, 64, 64, 1, 1}, element, 1};
}

/// A row whose times changed by `change`, and by `same` when nothing had changed.
Compared made_up(Work work, double change, double same, double lower_quartile) {
  return {row_of(work), 2e-6, 2e-6 * change, change, lower_quartile, same};
}

}  // namespace

TEST_CASE("a slow spell of the machine changes no ratio") {
  const Rounds rounds{{1.0, 1.0, 8.0, 1.0, 1.0}, {2.0, 2.0, 16.0, 2.0, 2.0}, {1, 1, 8, 1, 1}};
  const Compared row = compared(row_of(Work::train), rounds);
  CHECK_THAT(row.before, WithinAbs(1.0, 1e-12));
  CHECK_THAT(row.now, WithinAbs(2.0, 1e-12));
  CHECK_THAT(row.change, WithinAbs(2.0, 1e-12));
  CHECK_THAT(row.lower_quartile, WithinAbs(2.0, 1e-12));
  CHECK_THAT(row.change_of_the_same, WithinAbs(1.0, 1e-12));
}

TEST_CASE("one slow round is no slow row") {
  const Rounds rounds{{1, 1, 1, 1, 1}, {1, 1, 9, 1, 1}, {1, 9, 1, 1, 1}};
  CHECK_THAT(compared(row_of(Work::train), rounds).change, WithinAbs(1.0, 1e-12));
}

TEST_CASE("a row is slower when it is so by more than the same library is than itself") {
  const std::vector<Compared> rows = {
      made_up(Work::infer, 1.04, 0.96, 1.02),     // within the noise of the next
      made_up(Work::train, 1.20, 1.05, 1.10),     // slower
      made_up(Work::backward, 1.30, 1.00, 0.99),  // in a quarter of the rounds faster
      made_up(Work::infer_relu, 0.70, 1.00, 0.60)};
  CHECK(noise(rows) > 0.04);
  CHECK(noise(rows) < 0.06);
  CHECK(slower_rows(rows) == std::vector<std::string>{"train nc 64x64 f32 1t: 1.20"});
}

TEST_CASE("means are geometric, by work and scalar") {
  std::vector<Compared> rows = {made_up(Work::train, 2.0, 1.0, 2.0),
                                made_up(Work::train, 0.5, 1.0, 0.5),
                                made_up(Work::backward, 1.5, 1.0, 1.5)};
  rows.push_back(rows[0]);
  rows.back().row = row_of(Work::train, Element::f64);
  CHECK(mean_changes(rows) ==
        "| geometric means | rows | now / before | before / before |\n"
        "| --------------- | ---: | -----------: | --------------: |\n"
        "| train f32       |    2 |        1.000 |           1.000 |\n"
        "| backward f32    |    1 |        1.500 |           1.000 |\n"
        "| train f64       |    1 |        2.000 |           1.000 |\n"
        "| all             |    4 |        1.316 |           1.000 |\n");
  CHECK(change_table({rows[2]}) ==
        "| row                      |  before |     now | now / before | before / before |\n"
        "| ------------------------ | ------: | ------: | -----------: | --------------: |\n"
        "| backward nc 64x64 f32 1t | 2.00 us | 3.00 us |         1.50 |            1.00 |\n");
}
