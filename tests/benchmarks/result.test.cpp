// SPDX-License-Identifier: MIT
#include "benchmarks/result.hpp"

#include "benchmarks/made_up_results.hpp"
#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using namespace batchnorm_benchmarks;

TEST_CASE("the best rival is the fastest, and a library counts with its best way") {
  const RowResult result =
      made_up(Work::infer, 1, 0.002,
              {{"Eigen", {0.005, 0.0}}, {"oneDNN", {0.009, 0.0}}, {"oneDNN*", {0.004, 0.0}}});
  REQUIRE(best_rival(result) != nullptr);
  CHECK(best_rival(result)->name == "oneDNN*");
  CHECK(best_of_library(result, "oneDNN")->name == "oneDNN*");
  CHECK(best_of_library(result, "Eigen")->name == "Eigen");
  CHECK(best_of_library(result, "libtorch") == nullptr);
  CHECK(rival_named(result, "oneDNN")->name == "oneDNN");
  CHECK(best_rival(made_up(Work::infer, 1, 0.002, {})) == nullptr);
  CHECK_THAT(times_limit(result), WithinAbs(1.0, 1e-12));
  CHECK_THAT(times_faster(result, *best_rival(result)), WithinAbs(2.0, 1e-12));
}

TEST_CASE("a row is lost when it is slower by more than the noise") {
  const std::vector<RowResult> results = {
      made_up(Work::infer, 1, 0.0021, {{"Eigen", {0.002, 0.10}}}),
      made_up(Work::train, 1, 0.0023, {{"Eigen", {0.002, 0.10}}})};
  REQUIRE(lost_rows(results).size() == 1);
  CHECK(lost_rows(results)[0] ==
        "train nc 16384x512 f32 1t: 2.30 ms, Eigen 2.00 ms, noise 10.00 %");
}

TEST_CASE("a row misses a bar by its limit or by its rival") {
  const std::vector<RowResult> results = {
      made_up(Work::infer, 1, 0.0022, {{"Eigen", {0.004, 0.0}}}),
      made_up(Work::infer, 2, 0.0024, {{"Eigen", {0.004, 0.0}}}),
      made_up(Work::train, 1, 0.0022, {{"Eigen", {0.0021, 0.0}}})};
  REQUIRE(missed_bars(results).size() == 2);
  CHECK(missed_bars(results)[0] == "infer nc 16384x512 f32 2t: 1.20 x limit, bar 1.15");
  CHECK(missed_bars(results)[1] == "train nc 16384x512 f32 1t: 0.95 x as fast as Eigen, bar 1.00");
}

TEST_CASE("for single examples the bar is the best rival that is given a layer") {
  RowResult result =
      made_up(Work::infer, 1, 1e-8, {{"Eigen*", {1.5e-8, 0.0}}, {"Eigen", {4e-8, 0.0}}});
  result.row.shape = {Layout::rows, 1, 64, 1, 1};
  CHECK(best_rival(result)->name == "Eigen*");
  CHECK(best_with_layer(result)->name == "Eigen");
  CHECK(missed_bars({result}).empty());
  result.ours.seconds = 2e-8;
  REQUIRE(missed_bars({result}).size() == 1);
  CHECK(missed_bars({result})[0] == "infer nc 1x64 f32 1t: 2.00 x as fast as Eigen, bar 3.00");
  CHECK(lost_rows({result}).size() == 1);
}

TEST_CASE("bfloat16 is compared with float of the same row, out of the cache") {
  std::vector<RowResult> results = {made_up(Work::train, 1, 0.004, {}),
                                    made_up(Work::train, 1, 0.002, {})};
  results[1].row.element = Element::bf16;
  CHECK_THAT(bfloat16_gain(results, results[1]), WithinAbs(2.0, 1e-12));
  CHECK_THAT(bfloat16_gain(results, results[0]), WithinAbs(0.0, 0.0));
  results[0].row.threads = 2;  // another row
  CHECK_THAT(bfloat16_gain(results, results[1]), WithinAbs(0.0, 0.0));
  for (RowResult& result : results) result.row.shape.samples = 64;
  results[0].row.threads = 1;  // the same again, but in the cache
  CHECK_THAT(bfloat16_gain(results, results[1]), WithinAbs(0.0, 0.0));
}

TEST_CASE("two threads in cache are no slower than one, by more than the noise") {
  std::vector<RowResult> results = {made_up(Work::train, 1, 0.0001, {}),
                                    made_up(Work::train, 2, 0.0002, {})};
  for (RowResult& result : results) result.row.shape = {Layout::rows, 256, 1024, 1, 1};  // 1 MiB
  CHECK_THAT(thread_loss(results, results[1]), WithinAbs(2.0, 1e-12));
  CHECK_THAT(thread_loss(results, results[0]), WithinAbs(0.0, 0.0));
  REQUIRE(missed_threads(results).size() == 1);
  CHECK(missed_threads(results)[0] == name_of(results[1].row) + ": 2.00 x one thread, bar 1.00");
  results[1].ours = {0.000105, 0.10};
  CHECK(missed_threads(results).empty());
  results[1].ours = {0.0002, 0.0};
  for (RowResult& result : results) result.row.shape = {Layout::rows, 64, 512, 1, 1};  // too little
  CHECK(missed_threads(results).empty());
}

TEST_CASE("the gain from threads is compared with that of copying") {
  // Copying is twice as fast with two threads.
  std::vector<RowResult> results = {made_up(Work::train, 1, 0.004, {}),
                                    made_up(Work::train, 2, 0.0025, {})};
  CHECK_THAT(thread_efficiency(results, results[1]), WithinAbs(0.8, 1e-12));
  CHECK_THAT(thread_efficiency(results, results[0]), WithinAbs(0.0, 0.0));
  REQUIRE(missed_threads(results).size() == 1);
  results[1].ours.seconds = 0.0021;
  CHECK(missed_threads(results).empty());
  results[1].row.shape.samples = 64;  // and no row of one thread for it
  CHECK_THAT(thread_efficiency(results, results[1]), WithinAbs(0.0, 0.0));
}
