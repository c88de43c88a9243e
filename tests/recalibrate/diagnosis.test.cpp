// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/diagnosis.hpp"

#include <limits>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::contains_text;

namespace {

Diagnosis some_diagnosis() {
  Diagnosis d;
  d.channels = 20;
  d.rule = RunningUpdate::keep_old(0.99);
  d.batches_seen = 10;
  d.samples_seen = 640;
  d.initial_weight = 0.904382;
  d.batches_to_go = 449;
  d.effective_batches = 9.99;
  d.effective_batches_in_the_long_run = 199;
  d.variance = Eigen::VectorXd::Constant(20, 4.0);
  d.mean_error = Eigen::VectorXd::Constant(20, 0.1);
  d.mean_error[7] = 0.2;
  d.variance_error = Eigen::VectorXd::Constant(20, 0.08);
  d.constant = {3, 17};
  for (Index c = 0; c < 13; ++c) d.small_gamma.push_back(c);
  d.largest_gain = 31.62;
  d.largest_gain_channel = 4;
  return d;
}

}  // namespace

TEST_CASE("a person can read a diagnosis") {
  CHECK(some_diagnosis().text() ==
        "batch norm of 20 channels\n"
        "  statistics                  not marked as stale\n"
        "  seen                        10 minibatches, 640 values per channel\n"
        "  rule                        take_new(0.01)\n"
        "  weight on the initial value 90.4 %; 449 more minibatches until the initial value weighs "
        "less than 1 %\n"
        "  effective minibatches       9.99, in the long run 199\n"
        "  standard error of mean      0.0536 deviations, at most 0.1 (channel 7)\n"
        "  standard error of variance  2 %, at most 2 (channel 0)\n"
        "                              if all values were independent; for images give diagnose a "
        "MinibatchSeries\n"
        "  channels that never vary    2 of 20: 3, 17\n"
        "  gamma near zero             13 of 20: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...\n"
        "  variance below epsilon      none\n"
        "  NaN, negative variance      none\n"
        "  largest gain                31.6 (channel 4)\n");
}

TEST_CASE("what only a series shows, and what nobody knows") {
  Diagnosis d = some_diagnosis();
  d.values_per_example = 64;
  d.effective_values_per_example = Eigen::VectorXd::Constant(20, 2.0);
  d.effective_values_per_example[5] = 1.0;
  d.series_minibatches = 9;  // 8 degrees of freedom: sqrt(2 / 8)
  d.observed_variance_error = Eigen::VectorXd::Constant(20, 0.04);
  d.staleness = Staleness::weights_pruned;
  CHECK(d.is_stale());
  CHECK_THAT(d.text(), contains_text("stale: from before the weights were pruned\n"));
  CHECK_THAT(d.text(), contains_text("values per example          64, worth 1.95 independent ones, "
                                     "at least 1 (channel 5)\n" +
                                     std::string(30, ' ') +
                                     "of one channel give or take 50 %, from 9 minibatches\n"));
  CHECK_THAT(d.text(), contains_text("  as minibatches spread     1 %, at most 1 (channel 0)\n"));
  CHECK_THAT(d.text(), !contains_text("if all values were independent"));

  const double nan = std::numeric_limits<double>::quiet_NaN();
  d = some_diagnosis();
  d.initial_weight = d.effective_batches = nan;
  d.batches_to_go = State<float>::unknown;
  d.batches_seen = d.samples_seen = State<float>::unknown;
  d.mean_error = d.variance_error = Eigen::VectorXd();
  CHECK_THAT(d.text(),
             contains_text("an unknown number of minibatches, an unknown number of values"));
  CHECK_THAT(d.text(), contains_text("weight on the initial value unknown\n"));
  CHECK_THAT(d.text(), contains_text("effective minibatches       unknown\n"));
  CHECK_THAT(d.text(), contains_text("standard errors             unknown\n"));
  d.initial_weight = 1.0;
  CHECK_THAT(d.text(), contains_text("weight on the initial value 100 %; for ever\n"));
  d.initial_weight = 0.0;
  d.batches_to_go = 0;
  CHECK_THAT(d.text(), contains_text("weight on the initial value 0 %\n"));
}

TEST_CASE("rules are written as they are made") {
  CHECK(detail::text_of(RunningUpdate::take_new(0.1)) == "take_new(0.1)");
  CHECK(detail::text_of(RunningUpdate::keep_old_debiased(0.999)) == "keep_old_debiased(0.999)");
  CHECK(detail::text_of(RunningUpdate::cumulative()) == "cumulative()");
  CHECK(detail::text_of(RunningUpdate::windowed(100)) == "windowed(100)");
  CHECK(detail::text_of(RunningUpdate::population()) == "population()");
}

TEST_CASE("a constant channel has no error to be relative to") {
  Diagnosis d = some_diagnosis();
  d.channels = 1;
  d.variance = d.mean_error = d.variance_error = Eigen::VectorXd::Zero(1);
  CHECK_THAT(d.text(), contains_text("standard error of mean      0 deviations"));
}

TEST_CASE("one minibatch that is missing is told, and none is not") {
  Diagnosis d = some_diagnosis();
  d.batches_to_go = 1;
  CHECK_THAT(d.text(), contains_text("90.4 %; 1 more minibatches until"));
  d.batches_to_go = 0;
  CHECK_THAT(d.text(), contains_text("weight on the initial value 90.4 %\n"));
}

TEST_CASE("the first of the channels with the fewest independent values is named") {
  Diagnosis d = some_diagnosis();
  d.values_per_example = 4;
  d.series_minibatches = 3;
  const auto least = [&](const Eigen::VectorXd& numbers) {
    d.channels = numbers.size();
    d.variance = d.mean_error = d.variance_error = Eigen::VectorXd::Ones(numbers.size());
    d.effective_values_per_example = numbers;
    const std::string text = d.text();
    const std::size_t begin = text.find("at least");
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  CHECK(least(Eigen::VectorXd{{2}}) == "at least 2 (channel 0)");
  CHECK(least(Eigen::VectorXd{{2, 2, 2}}) == "at least 2 (channel 0)");
  CHECK(least(Eigen::VectorXd{{1, 2, 3}}) == "at least 1 (channel 0)");
  CHECK(least(Eigen::VectorXd{{3, 1, 1}}) == "at least 1 (channel 1)");
  CHECK(least(Eigen::VectorXd{{3, 2, 1}}) == "at least 1 (channel 2)");
}

TEST_CASE("a diagnosis begins with nothing") {
  const Diagnosis nothing;
  CHECK(nothing.channels == 0);
  CHECK(nothing.rule == RunningUpdate::population());
  CHECK(nothing.batches_seen == 0);
  CHECK(nothing.samples_seen == 0);
  CHECK_FALSE(nothing.is_stale());
  CHECK(nothing.initial_weight == 0.0);
  CHECK(nothing.batches_to_go == 0);
  CHECK(nothing.effective_batches == 0.0);
  CHECK(nothing.effective_batches_in_the_long_run == 0.0);
  CHECK(nothing.values_per_example == 0.0);
  CHECK(nothing.series_minibatches == 0);
  CHECK(nothing.largest_gain == 0.0);
  CHECK(nothing.largest_gain_channel == -1);
}
