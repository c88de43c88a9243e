// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/drift_report.hpp"

#include <cmath>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::contains_text;

namespace {

DriftReport some_report() {
  DriftReport report;
  report.values = 256;
  report.alarm_probability = 0.05;
  report.shift = Eigen::Vector4d(0.125, -2.1, 0, 0.5);
  report.spread = Eigen::Vector4d(1, 0.72, 0, 1.1);
  report.kl = Eigen::Vector4d(0.0078, 2.31, 0, 0.13);
  report.log_e = Eigen::Vector4d(std::log(0.25), std::log(3.2) + 12 * std::log(10), 0, 1);
  report.not_judged = {2};
  report.mean_kl = 0.816;
  report.log_mean_e = report.log_e[1] - std::log(3.0);
  return report;
}

}  // namespace

TEST_CASE("a report prints its verdict and the channels with most evidence first") {
  CHECK(some_report().text() ==
        "drift: ALARM, e-value 1.1e+12 (alarm at 20), KL 0.816 nats, means over 3 channels of 256 "
        "values\n"
        "not judged, as the source has no variance of them: 1 channels\n"
        "channel    shift, in deviations   spread       KL    e-value\n"
        "      1                 -2.100   x 0.72    2.310    3.2e+12\n"
        "      3                  0.500   x 1.10    0.130        2.7\n"
        "      0                  0.125   x 1.00    0.008       0.25\n");
  const std::string shorter = some_report().text(2);
  CHECK_THAT(shorter, contains_text("and 1 more\n"));
  CHECK_THAT(shorter, !contains_text("0.125"));
}

TEST_CASE("the alarm is raised at 1 / alpha") {
  DriftReport report = some_report();
  report.log_mean_e = std::log(20.001);
  CHECK(report.alarm());
  report.log_mean_e = std::log(19.999);
  CHECK_FALSE(report.alarm());
  report.alarm_probability = 0.1;
  CHECK(report.alarm());
}

TEST_CASE("nothing to report") {
  DriftReport report = some_report();
  report.not_judged = {0, 1, 2, 3};
  report.log_mean_e = report.mean_kl = 0;
  CHECK(report.text() ==
        "drift: no alarm, e-value 1 (alarm at 20), KL 0.000 nats, means over 0 channels of 256 "
        "values\n"
        "not judged, as the source has no variance of them: 4 channels\n");
}

TEST_CASE("e-values of any size are printed") {
  CHECK(detail::e_value_text(0) == "1");
  CHECK(detail::e_value_text(std::log(9.97e7)) == "1.0e+08");
  CHECK(detail::e_value_text(std::log(9.94e7)) == "9.9e+07");
  CHECK(detail::e_value_text(-5000) == "3.4e-2172");
  CHECK(detail::e_value_text(5000) == "3.0e+2171");
}

TEST_CASE("a report begins with nothing, which is no alarm") {
  const DriftReport report;
  CHECK(report.channels() == 0);
  CHECK(report.values == 0.0);
  CHECK(report.alarm_probability == 0.0);
  CHECK(report.mean_kl == 0.0);
  CHECK(report.log_mean_e == 0.0);
  CHECK_FALSE(report.alarm());
  CHECK(report.text() ==
        "drift: no alarm, e-value 1 (alarm at inf), KL 0.000 nats, means over 0 channels of 0 "
        "values\n");
}
