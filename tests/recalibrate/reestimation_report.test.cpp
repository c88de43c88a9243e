// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/reestimation_report.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::contains_text;

namespace {

State<double> with_statistics(const Eigen::Vector2d& mean, const Eigen::Vector2d& variance) {
  State<double> state(2);
  state.running_mean = mean;
  state.running_variance = variance;
  return state;
}

LayerReestimate some_layer() {
  const State<double> now = with_statistics({10, -1}, {4, 0.25});
  LayerReestimate layer;
  layer.mean = now.running_mean;
  layer.variance = now.running_variance;
  layer.running = detail::gap_between(with_statistics({11, -1}, {4, 1}), now, 0);
  layer.series = MinibatchSeries<double>(2);
  layer.series.examples = 500;
  layer.series.means.count = 20;
  layer.series.pooled.count = 32000;
  return layer;
}

}  // namespace

TEST_CASE("gaps are in standard deviations of the new statistics") {
  const LayerReestimate layer = some_layer();
  CHECK(layer.channels() == 2);
  CHECK(layer.running.is_measured());
  CHECK_FALSE(layer.one_pass.is_measured());
  CHECK(layer.running.mean == Eigen::Vector2d(0.5, 0));     // 1 / 2
  CHECK(layer.running.deviation == Eigen::Vector2d(0, 1));  // 1 / 0.5 - 1
  // The unit is what the layer divides by: sqrt(0.25 + 0.75) = 1 and sqrt(4 + 0.75).
  const StatisticsGap soft = detail::gap_between(with_statistics({0, 2}, {4, 8.25}),
                                                 with_statistics({0, -1}, {4, 0.25}), 0.75);
  CHECK(soft.mean == Eigen::Vector2d(0, 3));
  CHECK(soft.deviation == Eigen::Vector2d(0, 2));
}

TEST_CASE("a constant channel without epsilon is no distance from itself, and far from others") {
  const State<double> constant = with_statistics({3, 3}, {0, 0});
  const StatisticsGap gap = detail::gap_between(with_statistics({3, 4}, {0, 1}), constant, 0);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(gap.mean == Eigen::Vector2d(0, infinity));
  CHECK(gap.deviation == Eigen::Vector2d(0, infinity));
}

TEST_CASE("a summary is the root mean square and the channel that is off most") {
  const ChannelSummary summary = summarize(Eigen::Vector4d(1, -7, 5, 5));
  CHECK(summary.rms == 5.0);
  CHECK(summary.largest == -7.0);
  CHECK(summary.channel == 1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(summarize(Eigen::Vector4d(1, nan, 9, nan)).channel == 1);
  CHECK(std::isnan(summarize(Eigen::Vector4d(1, nan, 9, nan)).rms));
  CHECK(summarize(Eigen::VectorXd()).channel == -1);
  CHECK(summarize(Eigen::VectorXd::Zero(2)).channel == 0);
}

TEST_CASE("a person can read the report") {
  ReestimationReport report;
  CHECK(report.text() == "re-estimation was stopped: no layer was changed\n");
  report.completed = true;
  report.layers.assign(2, some_layer());
  report.layers[0].series.examples = 1000;  // used twice
  CHECK(report.text() ==
        "statistics taken anew from 500 examples in 20 minibatches, all values pooled, in one "
        "pass\n"
        "how far the running averages were from them:\n"
        "                                 mean, in deviations         deviation, in %\n"
        "  layer  channels    values      rms   largest (channel)   rms   largest (channel)\n"
        "      0         2     32000    0.354     0.500 (0)        70.7     100.0 (1)\n"
        "      1         2     32000    0.354     0.500 (0)        70.7     100.0 (1)\n"
        "how far those of layer after layer are from them was not measured: "
        "ReestimationOrder::layer_after_layer\n");
  report.order = ReestimationOrder::layer_after_layer;
  report.estimator = Estimator::paper();
  report.layers.resize(1);
  report.layers[0].one_pass = detail::gap_between(with_statistics({1e9, -1}, {4, 0.25}),
                                                  with_statistics({0, -1}, {1, 1}), 0);
  CHECK_THAT(report.text(), contains_text("averages over minibatches, layer after layer\n"));
  CHECK_THAT(report.text(),
             contains_text("how far the statistics of one pass are from them:\n"
                           "                                 mean, in deviations         "
                           "deviation, in %\n"
                           "  layer  channels    values      rms   largest (channel)   rms   "
                           "largest (channel)\n"
                           "      0         2     32000 7.07e+08     1e+09 (0)        79.1     "
                           "100.0 (0)\n"));
  report.order = ReestimationOrder::one_pass;
  CHECK_THAT(report.text(), !contains_text("was not measured"));  // one layer has one order
}

TEST_CASE("estimators are compared by what they are") {
  CHECK(Estimator::population() == Estimator::population());
  CHECK(Estimator::population() != Estimator::paper());
  CHECK(Estimator::population().is_population());
  CHECK_FALSE(Estimator::paper().is_population());
}

TEST_CASE("a report of nothing done, a summary of no channels, options as they are usual") {
  const ReestimationReport report;
  CHECK(report.estimator == Estimator::population());
  CHECK(report.order == ReestimationOrder::one_pass);
  CHECK_FALSE(report.completed);
  CHECK(report.layers.empty());
  const ChannelSummary none = summarize(Eigen::VectorXd());
  CHECK(none.rms == 0.0);
  CHECK(none.largest == 0.0);
  CHECK(none.channel == -1);
  const ReestimationOptions options;
  CHECK(options.estimator == Estimator::population());
  CHECK(options.order == ReestimationOrder::one_pass);
}
