// SPDX-License-Identifier: MIT
#include "benchmarks/report.hpp"

#include "benchmarks/made_up_results.hpp"
#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using namespace batchnorm_benchmarks;

namespace {

Results some_results() {
  return {made_up(Work::infer, 1, 0.002, {{"Eigen", {0.004, 0.0}}, {"oneDNN", {0.016, 0.0}}}),
          made_up(Work::train, 1, 0.004, {{"oneDNN", {0.008, 0.0}}, {"oneDNN*", {0.032, 0.0}}}),
          made_up(Work::backward, 2, 0.001, {{"oneDNN", {0.008, 0.0}}}),
          made_up(Work::train_checked, 1, 0.004, {})};
}

}  // namespace

TEST_CASE("the table has a line for every row and a column for every rival") {
  CHECK(main_table(some_results()) ==
        "| row                                |   limit |    ours |   Eigen |  oneDNN | oneDNN* | "
        "ours / limit | best rival / ours |\n"
        "| ---------------------------------- | ------: | ------: | ------: | ------: | ------: | "
        "-----------: | ----------------: |\n"
        "| infer nc 16384x512 f32 1t          | 2.00 ms | 2.00 ms | 4.00 ms | 16.0 ms |         | "
        "        1.00 |              2.00 |\n"
        "| train nc 16384x512 f32 1t          | 2.00 ms | 4.00 ms |         | 8.00 ms | 32.0 ms | "
        "        2.00 |              2.00 |\n"
        "| backward nc 16384x512 f32 2t       | 2.00 ms | 1.00 ms |         | 8.00 ms |         | "
        "        0.50 |              8.00 |\n"
        "| train, checked nc 16384x512 f32 1t | 2.00 ms | 4.00 ms |         |         |         | "
        "        2.00 |                   |\n");
}

TEST_CASE("a cell has the time over the limit and the largest error") {
  Results results = {made_up(Work::infer, 1, 0.0023, {{"Eigen", {0.004, 0.0}, 7.3e-5}}),
                     made_up(Work::train, 1, 0.003, {{"oneDNN", {0.008, 0.0}, 2e-3}})};
  results[0].error = 1.4e-7;
  CHECK(accuracy_table(results) ==
        "| time over limit, largest error |          ours |         Eigen |        oneDNN |\n"
        "| ------------------------------ | ------------: | ------------: | ------------: |\n"
        "| infer nc 16384x512 f32 1t      | 1.15, 1.4e-07 | 2.00, 7.3e-05 |               |\n"
        "| train nc 16384x512 f32 1t      | 1.50, 0.0e+00 |               | 4.00, 2.0e-03 |\n");
}

TEST_CASE("means are taken over the rows that have the rival") {
  const Results results = some_results();
  CHECK_THAT(mean_gain(results, is_training_work), WithinAbs(4.0, 1e-12));
  CHECK_THAT(mean_gain(results, is_training_work, "oneDNN"), WithinAbs(4.0, 1e-12));
  CHECK_THAT(mean_gain(results, is_training_work, "Eigen"), WithinAbs(0.0, 0.0));
  CHECK_THAT(mean_gain(results, is_training_work, "oneDNN", times_faster_at_limit),
             WithinAbs(4.0, 1e-12));
  CHECK_THAT(mean_gain(results, groups()[2].holds, "", times_faster_at_limit),
             WithinAbs(4.0, 1e-12));
  CHECK_THAT(mean_times_limit(results, is_training_work), WithinAbs(1.0, 1e-12));
  CHECK_THAT(mean_times_limit(results, is_training_work, 64 * mebibyte), WithinAbs(0.0, 0.0));
}

TEST_CASE("the summary has a line for every group and library, and a dash for no rows") {
  const std::string text = summary_table(some_results());
  CHECK(
      text ==
      "| geometric means, f32                     | ours / limit | rival / ours | rival / limit |  "
      "bar |\n"
      "| ---------------------------------------- | -----------: | -----------: | ------------: | "
      "---: |\n"
      "| inference, best rival                    |         1.00 |         2.00 |          2.00 | "
      "2.00 |\n"
      "| inference, from 1 MiB on                 |         1.00 |              |               | "
      "1.25 |\n"
      "| training, best rival                     |         2.00 |         2.00 |          4.00 | "
      "2.00 |\n"
      "| training, from 1 MiB on                  |         2.00 |              |               | "
      "1.35 |\n"
      "| backward, best rival                     |         0.50 |         8.00 |          4.00 | "
      "1.70 |\n"
      "| backward, from 1 MiB on                  |         0.50 |              |               | "
      "1.35 |\n"
      "| training and backward, oneDNN            |              |         4.00 |          4.00 | "
      "4.00 |\n"
      "| training and backward, libtorch          |              |            - |             - | "
      "3.00 |\n"
      "| training and backward, Eigen             |              |            - |             - | "
      "     |\n"
      "| gain from threads, of copy's             |              |            - |               | "
      "0.90 |\n"
      "| elements per second, bfloat16 of float's |              |            - |               | "
      "1.60 |\n");
}

TEST_CASE("the means leave other scalars out") {
  Results results = some_results();
  results.push_back(made_up(Work::train, 1, 0.001, {{"Eigen", {1.0, 0.0}}}));
  results.back().row.element = Element::f64;
  CHECK_THAT(mean_gain(results, is_training_work), WithinAbs(4.0, 1e-12));
  CHECK_THAT(mean_gain(results, groups()[1].holds), WithinAbs(2.0, 1e-12));
}

TEST_CASE("lists say when they are empty") {
  CHECK(listed("missed", {}) == "missed: none\n");
  CHECK(listed("missed", {"a", "b"}) == "missed:\n  a\n  b\n");
}
