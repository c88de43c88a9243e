// SPDX-License-Identifier: MIT
#include "benchmarks/accuracy_report.hpp"

#include <limits>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"

using Catch::Matchers::WithinRel;
using namespace batchnorm_benchmarks;

namespace {

AccuracyResults made_up_errors() {
  AccuracyResults results(2);
  results[0].row = {Layout::nhwc, 1'000'000, 1000, 1};
  results[0].cells = {{"batchnorm", {0.0, 5e-9, 3e-7}}, {"oneDNN", {8.91, 79.4, 5.7}}};
  results[1].row = {Layout::rows, 100, 0, 2};
  results[1].cells = {{"batchnorm", {2e-6, 0.0, 0.0}}, {"Eigen", {0.0216, 1.3e7, 1234.0}}};
  return results;
}

}  // namespace

TEST_CASE("errors have two digits, and an exponent where they are far from 1") {
  CHECK(error_text(0.0) == "0");
  CHECK(error_text(8.912) == "8.9");
  CHECK(error_text(79.4) == "79");
  CHECK(error_text(998.0) == "998");
  CHECK(error_text(0.0216) == "0.022");
  CHECK(error_text(0.00987) == "9.9e-3");
  CHECK(error_text(5.8e-8) == "5.8e-8");
  CHECK(error_text(1e-11) == "1.0e-11");
  CHECK(error_text(12'600'000.0) == "1.3e7");
  CHECK(error_text(1e10) == "1.0e10");
  CHECK(error_text(std::numeric_limits<double>::infinity()) == "inf");
  CHECK(error_text(std::numeric_limits<double>::quiet_NaN()) == "nan");
  CHECK(error_text(Errors{8.9, 79.0, 0.0}) == "8.9 / 79 / 0");
}

TEST_CASE("large numbers are grouped") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(100) == "100");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1'000'000) == "1,000,000");
}

TEST_CASE("tables have a line for each row that is asked for, and a column for everybody") {
  const AccuracyResults results = made_up_errors();
  CHECK(
      accuracy_table(results, [](const AccuracyRow&) { return true; }) ==
      "| layout              |    values |  mean | threads |           batchnorm |         oneDNN "
      "|                 Eigen |\n"
      "| ------------------- | --------: | ----: | ------: | ------------------: | -------------: "
      "| --------------------: |\n"
      "| NHWC                | 1,000,000 | 1,000 |       1 | 0 / 5.0e-9 / 3.0e-7 | 8.9 / 79 / 5.7 "
      "|                       |\n"
      "| features x examples |       100 |     0 |       2 |      2.0e-6 / 0 / 0 |                "
      "| 0.022 / 1.3e7 / 1.2e3 |\n");
  CHECK(accuracy_table(results, [](const AccuracyRow& row) {
          return row.threads == 2;
        }).find("NHWC") == std::string::npos);
}

TEST_CASE("what is further off than promised is found") {
  const AccuracyResults results = made_up_errors();
  CHECK(rows_beyond_promise(results, "batchnorm") ==
        std::vector<std::string>{"features x examples, 100 values, mean 0, 2 threads: "
                                 "2.0e-6 / 0 / 0"});
  CHECK(rows_beyond_promise(results, "oneDNN").size() == 1);
  CHECK(rows_beyond_promise(results, "nobody").empty());
  CHECK(keeps_promise({1e-6, 1e-6, 2e-6}));
  CHECK_FALSE(keeps_promise({0.0, 1.1e-6, 0.0}));
  CHECK_FALSE(keeps_promise({0.0, 0.0, 2.1e-6}));
  CHECK_FALSE(keeps_promise({std::numeric_limits<double>::quiet_NaN(), 0.0, 0.0}));
}

TEST_CASE("the errors are JSON that another reader understands") {
  const auto read = nlohmann::json::parse(json({{"date", "2026-01-02"}}, made_up_errors()));
  CHECK(read["date"] == "2026-01-02");
  REQUIRE(read["rows"].size() == 2);
  const auto& row = read["rows"][0];
  CHECK(row["layout"] == "NHWC");
  CHECK(row["shape"] == "nhwc 100x16x100x100");
  CHECK(row["values"] == 1'000'000);
  CHECK(row["mean"] == 1000);
  CHECK(row["threads"] == 1);
  CHECK_THAT(row["errors"]["oneDNN"]["variance"].get<double>(), WithinRel(79.4, 1e-9));
  CHECK_THAT(row["errors"]["batchnorm"]["output"].get<double>(), WithinRel(3e-7, 1e-9));
}
