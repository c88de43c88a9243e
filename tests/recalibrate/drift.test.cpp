// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/drift.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/normal_streams.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index runs = 300, batches = 200, batch_size = 8;

DriftMonitor standard(Index channels, double source_values = INFINITY) {
  return DriftMonitor(Eigen::VectorXd::Zero(channels), Eigen::VectorXd::Ones(channels),
                      source_values);
}

/// When each of 300 runs of 200 batches first had an e-value of 20 in its only channel, and when
/// n KL was first above its 95 % point; 201 for never. The runs are the channels of one monitor.
struct FirstAlarms {
  std::vector<Index> e_value = std::vector<Index>(runs, batches + 1);
  std::vector<Index> n_kl = e_value;

  FirstAlarms(std::uint64_t seed, double mean, double deviation) {
    NormalValues normal(seed);
    DriftMonitor monitor = standard(runs);
    for (Index batch = 1; batch <= batches; ++batch) {
      monitor.see(normal_moments(normal, runs, batch_size, mean, deviation));
      const DriftReport report = monitor.report();
      // of the looks at 8, 16 and more values (drift_score.hpp)
      const double point = batch == 1 ? 3.4 : batch == 2 ? 3.2 : 3.0;
      for (Index run = 0; run < runs; ++run) {
        const auto r = static_cast<Size>(run);
        if (report.log_e[run] >= std::log(20.0)) e_value[r] = (std::min)(e_value[r], batch);
        if (report.values * report.kl[run] > point) n_kl[r] = (std::min)(n_kl[r], batch);
      }
    }
  }
};

double share_of_alarms(const std::vector<Index>& first) {
  const auto alarms =
      std::count_if(first.begin(), first.end(), [](Index b) { return b <= batches; });
  return static_cast<double>(alarms) / static_cast<double>(first.size());
}

Index median(std::vector<Index> first) {
  const auto middle = first.begin() + static_cast<std::ptrdiff_t>(first.size() / 2);
  std::nth_element(first.begin(), middle, first.end());
  return *middle;
}

}  // namespace

TEST_CASE("without drift few runs ever alarm, where n KL that is looked at alarms in half") {
  const FirstAlarms alarms(1, 0, 1);
  INFO(share_of_alarms(alarms.e_value) << " and " << share_of_alarms(alarms.n_kl));
  CHECK(share_of_alarms(alarms.e_value) <= 0.05);
  CHECK(share_of_alarms(alarms.n_kl) > 0.38);
  CHECK(share_of_alarms(alarms.n_kl) < 0.58);
}

TEST_CASE("a shift of half a deviation is found within ten batches, in the median") {
  const FirstAlarms alarms(2, 0.5, 1);
  INFO(median(alarms.e_value));
  CHECK(median(alarms.e_value) <= 10);
  CHECK(median(alarms.e_value) >= 3);  // four are 32 values: 2.8 deviations of their mean
  CHECK(share_of_alarms(alarms.e_value) == 1);
}

TEST_CASE("a spread that is larger or smaller is found") {
  const FirstAlarms larger(3, 0, 1.25), smaller(4, 0, 0.8);
  CHECK(median(larger.e_value) < 30);
  CHECK(median(smaller.e_value) < 40);
}

TEST_CASE("the mean over channels alarms no more often than one of them") {
  NormalValues normal(5);
  Index alarms = 0, single = 0;
  for (Index run = 0; run < runs; ++run) {
    DriftMonitor monitor = standard(4);
    bool alarm = false, any = false;
    for (Index batch = 0; batch < batches; ++batch) {
      monitor.see(normal_moments(normal, 4, batch_size));
      const DriftReport report = monitor.report();
      alarm = alarm || report.alarm();
      any = any || report.log_e.maxCoeff() >= std::log(20.0);
    }
    alarms += alarm ? 1 : 0;
    single += any ? 1 : 0;
  }
  INFO(alarms << " and " << single);
  CHECK(alarms <= runs / 20);
  CHECK(alarms <= single);
}

TEST_CASE("drift in one channel of many is found in their mean") {
  NormalValues normal(6);
  DriftMonitor monitor = standard(32);
  Index batch = 0;
  while (batch < batches && !monitor.report().alarm()) {
    Moments<double> seen = normal_moments(normal, 32, batch_size);
    seen.mean[7] += 0.5;
    monitor.see(seen);
    ++batch;
  }
  CHECK(batch < 30);
  Index worst = 0;
  monitor.report().log_e.maxCoeff(&worst);
  CHECK(worst == 7);
}

TEST_CASE("the error of a source of few values is no drift, where it is said") {
  NormalValues normal(7);
  constexpr Index source_values = 100;
  // Each channel has a source of its own, of 100 values.
  const Moments<double> source = normal_moments(normal, runs, source_values);
  DriftMonitor honest(source);
  DriftMonitor proud(source.mean, source.sample_variance());
  CHECK(honest.source_values == 100);
  Eigen::ArrayXd of_honest = Eigen::ArrayXd::Zero(runs), of_proud = of_honest;
  for (Index batch = 0; batch < batches; ++batch) {
    const Moments<double> seen = normal_moments(normal, runs, batch_size);
    honest.see(seen);
    proud.see(seen);
    of_honest = of_honest.max(honest.report().log_e.array());
    of_proud = of_proud.max(proud.report().log_e.array());
  }
  const double at = std::log(20.0);
  INFO((of_honest >= at).count() << " and " << (of_proud >= at).count());
  CHECK((of_honest >= at).count() <= runs / 20);
  CHECK((of_proud >= at).count() > runs / 3);
}

TEST_CASE("restarts find a change after a long quiet time sooner") {
  // With and without a restart after every 40 batches, from the 400th on shifted by half a
  // deviation.
  constexpr Index quiet = 400;
  const auto delays = [](bool restarts) {
    NormalValues normal(8);
    DriftMonitor monitor = standard(runs);
    std::vector<Index> delay(runs, 1000);
    for (Index batch = 0; batch < quiet + 100; ++batch) {
      if (restarts && batch % 40 == 0) monitor.restart();
      monitor.see(normal_moments(normal, runs, batch_size, batch < quiet ? 0 : 0.5));
      if (batch < quiet) continue;
      const DriftReport report = monitor.report();
      for (Index run = 0; run < runs; ++run) {
        Index& first = delay[static_cast<Size>(run)];
        if (report.log_e[run] >= std::log(20.0)) first = (std::min)(first, batch - quiet);
      }
    }
    return delay;
  };
  const Index with = median(delays(true)), without = median(delays(false));
  INFO(with << " and " << without);
  CHECK(with <= 10);
  CHECK(without > 2 * with);
}

TEST_CASE("values that are alike are worth fewer") {
  // Every value four times: the scores of the values themselves.
  NormalValues normal(9);
  const Moments<double> seen = normal_moments(normal, 3, batch_size, 0.3);
  Moments<double> fourfold = seen;
  fourfold.count *= 4;
  fourfold.sum_of_squares *= 4;
  DriftOptions alike;
  alike.values_alike = 4;
  DriftMonitor one = standard(3);
  DriftMonitor four(one.source_mean, one.source_variance, INFINITY, alike);
  one.see(seen);
  four.see(fourfold);
  CHECK(four.report().values == 8);
  CHECK(four.report().log_e == one.report().log_e);
  CHECK(four.report().kl == one.report().kl);
}

TEST_CASE("a report of known numbers") {
  DriftMonitor monitor(Eigen::Vector3d(1, 10, 5), Eigen::Vector3d(4, 25, 0));
  monitor.see(moments_of(Eigen::MatrixXf{{4, 6}, {5, 25}, {7, 7}}));
  const DriftReport report = monitor.report();
  CHECK(report.values == 2);
  CHECK(report.shift == Eigen::Vector3d(2, 1, 0));
  CHECK(report.spread == Eigen::Vector3d(0.5, 2, 0));
  CHECK(report.not_judged == std::vector<Index>{2});
  const double kl[] = {(4 + 0.25 - 1 + std::log(4.0)) / 2, (1 + 4 - 1 - std::log(4.0)) / 2};
  CHECK(std::fabs(report.kl[0] - kl[0]) < 1e-14);
  CHECK(std::fabs(report.kl[1] - kl[1]) < 1e-14);
  CHECK(std::fabs(report.mean_kl - (kl[0] + kl[1]) / 2) < 1e-14);
  const double e[] = {log_e_value({2, 2, 0.25}), log_e_value({2, 1, 4})};
  CHECK(report.log_e == Eigen::Vector3d(e[0], e[1], 0));
  CHECK(std::fabs(std::exp(report.log_mean_e) - (std::exp(e[0]) + std::exp(e[1])) / 2) < 1e-14);
  CHECK(monitor.seen.count == 2);
  monitor.restart();
  CHECK(monitor.seen.count == 0);
  CHECK(monitor.report().log_mean_e == 0);
  CHECK(monitor.report().mean_kl == 0);
  CHECK_FALSE(monitor.report().alarm());
}

TEST_CASE("evidence that no double holds still alarms") {
  DriftMonitor monitor = standard(2);
  NormalValues normal(10);
  monitor.see(normal_moments(normal, 2, 100000, 3));
  const DriftReport report = monitor.report();
  CHECK(report.alarm());
  CHECK(report.log_mean_e > 1e5);
  CHECK(std::isfinite(report.log_mean_e));
}

TEST_CASE("batches with weights count what they are worth") {
  Eigen::RowVectorXd values(3);
  values << 1, 4, 16;
  DriftMonitor monitor = standard(1);
  monitor.see(moments_of(weighted(values, Eigen::Vector3d(2, 1, 1), Weights::frequency)));
  DriftMonitor listed = standard(1);
  listed.see(moments_of(Eigen::RowVector4d(1, 1, 4, 16)));
  CHECK(monitor.report().values == 4);
  CHECK(std::fabs(monitor.report().log_e[0] - listed.report().log_e[0]) < 1e-12);
}

TEST_CASE("monitors of layers") {
  BatchNorm<float> layer(2);
  CHECK_THROWS_MATCHES(DriftMonitor(layer), std::domain_error,
                       says("DriftMonitor: the running statistics must come from data"));
  layer.train(Eigen::MatrixXf{{1, 3}, {2, 8}});
  const DriftMonitor monitor(layer, 500);
  CHECK(monitor.source_mean == layer.state().running_mean);
  CHECK(monitor.source_variance == layer.state().running_variance);
  CHECK(monitor.source_values == 500);
}

TEST_CASE("sources, options and batches that cannot be") {
  const Eigen::Vector2d zero(0, 0), one(1, 1);
  CHECK_THROWS_AS(DriftMonitor(zero, Eigen::Vector3d(1, 1, 1)), std::invalid_argument);
  CHECK_THROWS_AS(DriftMonitor(Eigen::VectorXd(), Eigen::VectorXd()), std::invalid_argument);
  CHECK_THROWS_MATCHES(DriftMonitor(zero, Eigen::Vector2d(1, -1)), std::domain_error,
                       says("channel 1"));
  CHECK_THROWS_AS(DriftMonitor(Eigen::Vector2d(0, std::nan("")), one), std::domain_error);
  for (const double wrong : {1.0, -5.0, std::nan(""), -double{INFINITY}}) {
    CHECK_THROWS_AS(DriftMonitor(zero, one, wrong), std::invalid_argument);
  }
  DriftOptions options;
  for (const double wrong : {0.0, 1.0, -0.1, std::nan("")}) {
    options.alarm_probability = wrong;
    CHECK_THROWS_MATCHES(DriftMonitor(zero, one, 100, options), std::invalid_argument,
                         says("probability of a false alarm"));
  }
  options = {};
  options.values_alike = 0;
  CHECK_THROWS_AS(DriftMonitor(zero, one, 100, options), std::invalid_argument);

  DriftMonitor monitor = standard(2);
  monitor.see(moments_of(Eigen::Matrix2d{{1, 2}, {3, 4}}));
  CHECK_THROWS_AS(monitor.see(Moments<double>(3)), std::invalid_argument);
  Moments<double> wrong = monitor.seen;
  wrong.mean[0] = std::nan("");
  CHECK_THROWS_AS(monitor.see(wrong), std::domain_error);
  CHECK(monitor.seen.count == 2);
}

TEST_CASE("unless told otherwise, one monitor in twenty may raise a false alarm") {
  const DriftOptions options;
  CHECK(options.alarm_probability == 0.05);
  CHECK(options.values_alike == 1.0);
}
