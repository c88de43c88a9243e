// SPDX-License-Identifier: MIT
#include "benchmarks/json.hpp"

#include <nlohmann/json.hpp>

#include "benchmarks/made_up_results.hpp"
#include "support/catch.hpp"

using Catch::Matchers::WithinRel;
using namespace batchnorm_benchmarks;

TEST_CASE("the results are JSON that another reader understands") {
  const Facts facts = {{"machine", "a \"quoted\" name\\with\nmore"}, {"date", "2026-01-02"}};
  const auto read = nlohmann::json::parse(
      json(facts, {made_up(Work::infer, 1, 0.0025, {{"oneDNN*", {0.004, 0.25}, 7e-5}}),
                   made_up(Work::train_checked, 2, 0.004, {})}));
  CHECK(read["machine"] == "a \"quoted\" name\\with more");
  CHECK(read["date"] == "2026-01-02");
  REQUIRE(read["rows"].size() == 2);
  const auto& row = read["rows"][0];
  CHECK(row["row"] == "infer nc 16384x512 f32 1t");
  CHECK(row["shape"] == "nc 16384x512");
  CHECK(row["bytes"] == 33554432);
  CHECK_THAT(row["ours"]["seconds"].get<double>(), WithinRel(0.0025, 1e-9));
  CHECK_THAT(row["limit"].get<double>(), WithinRel(0.002, 1e-9));
  CHECK_THAT(row["triad"].get<double>(), WithinRel(0.004, 1e-9));
  CHECK_THAT(row["rivals"]["oneDNN*"]["noise"].get<double>(), WithinRel(0.25, 1e-9));
  CHECK_THAT(row["rivals"]["oneDNN*"]["error"].get<double>(), WithinRel(7e-5, 1e-9));
  CHECK(row["ours"]["error"].get<double>() == 0.0);
  CHECK(read["rows"][1]["work"] == "train, checked");
  CHECK(read["rows"][1]["threads"] == 2);
  CHECK(read["rows"][1]["rivals"].empty());
}

TEST_CASE("no rows are JSON as well") {
  CHECK(nlohmann::json::parse(json({}, {}))["rows"].empty());
}
