// SPDX-License-Identifier: MIT
// The values of one image are alike. Let them have correlation rho, and a minibatch B images of HW
// positions, m = B HW values. Its mean then varies by s^2 D / m, D = 1 + (HW - 1) rho, and that is
// missing from its variance: E[variance] = s^2 (1 - D / m), low by about rho / B. The factor
// m / (m - 1) makes up for D = 1 alone. So every average of minibatch variances is low, whatever
// weights it has, and only the variance of all values together is right.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/recalibrate/reestimate.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index positions = 64, channels = 8;
constexpr double rho = 0.5, s2 = 1.0;

double averaged(double images, bool corrected) {
  const double m = images * positions, alike = 1 + (positions - 1) * rho;
  return s2 * (1 - alike / m) * (corrected ? m / (m - 1) : 1);
}

/// Images whose variance over all images and positions is 1: a part that an image has as a whole,
/// and noise.
std::vector<float> images(Index count) {
  Random random(23);
  std::vector<float> values;
  values.reserve(static_cast<Size>(count * channels * positions));
  for (Index plane = 0; plane < count * channels; ++plane) {
    const double common = std::sqrt(rho) * random.normal();
    for (Index p = 0; p < positions; ++p) {
      values.push_back(static_cast<float>(common + std::sqrt(1 - rho) * random.normal()));
    }
  }
  return values;
}

double average(const State<float>& state) {
  return state.running_variance.mean();
}

}  // namespace

TEST_CASE("averages of minibatch variances are low for images, pooled values are right") {
  constexpr Index count = 2400;
  const std::vector<float> values = images(count);
  const auto part = [&](Index first, Index size) {
    return channels_first(values.data() + first * channels * positions, size, channels, positions);
  };
  // The average of K variances over all channels has a deviation of about
  // sqrt(2 (1 + (HW - 1) rho^2) / (m K channels)) = 0.005, for every B.
  constexpr double tolerance = 0.015;
  for (const Index size : {2, 8}) {
    INFO(size << " images in a minibatch");
    const Minibatches data(count, size);
    const double images_per_batch = static_cast<double>(size);
    Options options;
    options.running = RunningUpdate::keep_old_debiased(0.999);
    options.running_variance = VarianceEstimator::population;
    BatchNorm<float> biased(channels, options);
    options.running_variance = VarianceEstimator::sample;
    BatchNorm<float> sample(channels, options), paper(channels), pooled(channels);
    for (Index k = 0; k < data.count(); ++k) {
      const auto batch = moments_of(part(data.begin(k), size));
      biased.commit(batch);
      sample.commit(batch);
    }
    ReestimationOptions averages;
    averages.estimator = Estimator::paper();
    reestimate(paper, data, part, averages);
    reestimate(pooled, data, part);
    CHECK(std::fabs(average(biased.state()) - averaged(images_per_batch, false)) < tolerance);
    CHECK(std::fabs(average(sample.state()) - averaged(images_per_batch, true)) < tolerance);
    CHECK(std::fabs(average(paper.state()) - averaged(images_per_batch, true)) < tolerance);
    CHECK(std::fabs(average(pooled.state()) - s2) < tolerance);
  }
}

TEST_CASE("the numbers of the guide to the examples are those of the law") {
  const std::string guide = read_bytes(source_dir() + "/examples/README.md");
  for (const int size : {2, 4, 8, 32}) {
    char row[80];
    std::snprintf(row, sizeof row, "| %d | %.3f | %.3f | 1.000 |", size, averaged(size, false),
                  averaged(size, true));
    INFO(row);
    CHECK(guide.find(row) != std::string::npos);
  }
}
