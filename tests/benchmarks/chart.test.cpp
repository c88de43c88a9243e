// SPDX-License-Identifier: MIT
#include "benchmarks/chart.hpp"

#include "benchmarks/made_up_results.hpp"
#include "support/catch.hpp"

using batchnorm_test::contains_text;
using namespace batchnorm_benchmarks;

TEST_CASE("the chart has the plain rows with a rival and with most threads") {
  const std::vector<Rival> rival = {{"Eigen", {0.008, 0.0}}};
  const std::vector<RowResult> rows = charted(
      {made_up(Work::infer, 1, 0.002, rival), made_up(Work::infer, 2, 0.002, rival),
       made_up(Work::infer_relu, 2, 0.002, rival), made_up(Work::train, 2, 0.002, {}),
       made_up(Work::train_checked, 2, 0.002, rival), made_up(Work::backward, 2, 0.002, rival)});
  REQUIRE(rows.size() == 2);
  CHECK(label_of(rows[0]) == "infer  nc 16384x512");
  CHECK(label_of(rows[1]) == "backward  nc 16384x512");
}

TEST_CASE("the chart draws multiples of the limit") {
  const std::string script =
      chart_script({made_up(Work::train, 1, 0.003, {{"Eigen", {0.008, 0.0}}})}, "out.svg");
  CHECK_THAT(script, contains_text("set output 'out.svg'"));
  CHECK_THAT(script, contains_text("'train  nc 16384x512' 0"));
  CHECK_THAT(script, contains_text("0 1.5 4 \"1.50\" \"4.00 Eigen\"\n"));
}
