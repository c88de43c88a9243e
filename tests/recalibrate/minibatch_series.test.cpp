// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/minibatch_series.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_running.hpp"

using namespace batchnorm_test;
using batchnorm::Index;
using batchnorm::MinibatchSeries;
using batchnorm::Moments;
using batchnorm::moments_of;
using batchnorm::Weights;

namespace {

constexpr Size channels = 3, positions = 2;

std::vector<Batch> minibatches(std::uint64_t seed, Size count) {
  Random random(seed);
  std::vector<Batch> all;
  for (Size k = 0; k < count; ++k) {
    all.push_back(stored_as<double>(normal_batch(random, 2 + random.below(6), channels, positions,
                                                 static_cast<Real>(k), 1 + 0.1L * k)));
  }
  return all;
}

MinibatchSeries<double> series_of(const std::vector<Batch>& batches) {
  MinibatchSeries<double> series(channels);
  for (const Batch& batch : batches) {
    series.add(moments_of(Stored<double>(batch, Layout::channels_first).view()),
               static_cast<Index>(batch.samples));
  }
  return series;
}

bool near(Real a, Real b) {
  return std::fabs(a - b) <= 1e-13L * std::fabs(b);
}

}  // namespace

TEST_CASE("a series knows all values, and how means and variances spread") {
  const std::vector<Batch> batches = minibatches(1, 9);
  const MinibatchSeries<double> series = series_of(batches);
  Index examples = 0;
  for (const Batch& batch : batches) examples += static_cast<Index>(batch.samples);
  CHECK(series.channels() == 3);
  CHECK(series.minibatches() == 9);
  CHECK(series.examples == examples);
  CHECK(series.pooled.count == 2 * examples);
  for (Size c = 0; c < channels; ++c) {
    const auto i = static_cast<Index>(c);
    reference::History means, variances;
    for (const Batch& batch : batches) {
      const PerChannel mu = reference::mean(batch);
      const Real m = batch.count();
      means.push_back(mu[c]);
      variances.push_back(reference::variance(batch, mu)[c] * m / (m - 1));
    }
    const auto squares = [](const reference::History& all) {
      const Real mean = reference::average(all);
      Real sum = 0;
      for (const Real each : all) sum += (each - mean) * (each - mean);
      return sum;
    };
    const reference::Pooled all = reference::pool(batches, c);
    CHECK(near(series.pooled.mean[i], all.mean));
    CHECK(near(series.pooled.sum_of_squares[i], all.squares));
    CHECK(near(series.means.mean[i], reference::average(means)));
    CHECK(near(series.means.sum_of_squares[i], squares(means)));
    CHECK(near(series.variances.mean[i], reference::average(variances)));
    CHECK(near(series.variances.sum_of_squares[i], squares(variances)));
  }
}

TEST_CASE("series of shards merge into that of all") {
  const std::vector<Batch> batches = minibatches(2, 8);
  const MinibatchSeries<double> whole = series_of(batches);
  MinibatchSeries<double> left = series_of({batches.begin(), batches.begin() + 3});
  const MinibatchSeries<double> right = series_of({batches.begin() + 3, batches.end()});
  MinibatchSeries<double> other = right;
  other.merge(left);
  left.merge(right);
  left.merge(MinibatchSeries<double>(channels));
  CHECK(left.examples == whole.examples);
  CHECK(left.minibatches() == 8);
  for (Index c = 0; c < left.channels(); ++c) {
    CHECK(near(left.pooled.sum_of_squares[c], whole.pooled.sum_of_squares[c]));
    CHECK(near(left.means.sum_of_squares[c], whole.means.sum_of_squares[c]));
    CHECK(near(left.variances.mean[c], whole.variances.mean[c]));
  }
  CHECK(left.pooled.mean == other.pooled.mean);
  CHECK(left.variances.sum_of_squares == other.variances.sum_of_squares);
}

TEST_CASE("a minibatch of one value has a mean and no variance, an empty one nothing") {
  MinibatchSeries<double> series(1);
  series.add(moments_of(Eigen::RowVectorXd{{5}}), 1);
  series.add(moments_of(Eigen::MatrixXd(1, 0)), 0);
  series.add(moments_of(Eigen::RowVectorXd{{1, 3}}), 2);
  CHECK(series.minibatches() == 2);
  CHECK(series.variances.count == 1);
  CHECK(series.variances.mean[0] == 2.0);
  CHECK(series.means.mean[0] == 3.5);
  CHECK(series.pooled.mean[0] == 3.0);
  CHECK(series.examples == 3);
}

TEST_CASE("weights of values are kept in what is pooled") {
  Moments<double> batch = moments_of(Eigen::RowVectorXd{{1, 3}});
  batch.set_weight(4, 8);  // each counts twice
  batch.sum_of_squares *= 2;
  MinibatchSeries<double> series(1);
  series.add(batch, 2);
  series.add(moments_of(Eigen::RowVectorXd{{8, 8}}), 2);
  CHECK(series.pooled.weight() == 6.0);
  CHECK(series.pooled.mean[0] == 4.0);
  CHECK(series.cast<long double>().pooled.weight() == 6.0);
  CHECK(series.means.weight() == 2.0);
  CHECK(series.means.mean[0] == 5.0);
}

TEST_CASE("a series goes over to another type") {
  const MinibatchSeries<double> series = series_of(minibatches(3, 4));
  const MinibatchSeries<long double> wide = series.cast<long double>();
  CHECK(wide.examples == series.examples);
  CHECK(wide.minibatches() == 4);
  CHECK(wide.pooled.mean[2] == static_cast<long double>(series.pooled.mean[2]));
  CHECK(wide.cast<double>().variances.sum_of_squares == series.variances.sum_of_squares);
}

TEST_CASE("a series whose parts do not belong together is refused, and changes nothing") {
  const MinibatchSeries<double> good = series_of(minibatches(4, 2));
  MinibatchSeries<double> odd = good, other = good, many = good;
  odd.means = Moments<double>(2);
  odd.means.count = 2;
  other.variances.count = -1;
  many.examples = (std::numeric_limits<Index>::max)();
  const auto refused = [&](const MinibatchSeries<double>& bad, const char* text) {
    MinibatchSeries<double> series = good;
    const auto says_so = says(std::string("MinibatchSeries::") + text);
    CHECK_THROWS_MATCHES(series.merge(bad), std::invalid_argument, says_so);
    CHECK(series.pooled.count == good.pooled.count);
    CHECK(series.pooled.mean == good.pooled.mean);
    CHECK(series.means.count == good.means.count);
    CHECK(series.examples == good.examples);
    series = bad;
    CHECK_THROWS_AS(series.merge(good), std::invalid_argument);
    CHECK_THROWS_AS(series.add(good.pooled, 2), std::invalid_argument);
    CHECK(series.pooled.count == bad.pooled.count);
    CHECK(series.examples == bad.examples);
  };
  refused(odd, "merge: numbers of channels of what is pooled, of means and of variances: expected");
  refused(other, "merge: count of the moments: expected zero or more, got -1");
  refused(many, "merge: number of examples, all together: expected at most");
  // The last part that is merged: its kind of weights is another one.
  MinibatchSeries<double> late = good, series = good;
  late.variances.set_weight(0.5, 0.125, Weights::reliability);
  series.variances.set_weight(0.5, 0.125, Weights::importance);
  CHECK_THROWS_AS(series.merge(late), std::invalid_argument);
  CHECK(series.pooled.count == good.pooled.count);
  CHECK_THROWS_MATCHES(MinibatchSeries<double>(-1), std::invalid_argument,
                       says("MinibatchSeries: number of channels: expected zero or more, got -1"));
}

TEST_CASE("minibatches of another layer are refused and change nothing") {
  MinibatchSeries<double> series = series_of(minibatches(4, 2));
  const Moments<double> other = moments_of(Eigen::MatrixXd::Identity(2, 2));
  CHECK_THROWS_AS(series.add(other, 2), std::invalid_argument);
  CHECK_THROWS_MATCHES(series.add(series.pooled, -1), std::invalid_argument,
                       says("MinibatchSeries::add: number of examples: expected zero or more"));
  CHECK_THROWS_AS(series.merge(MinibatchSeries<double>(2)), std::invalid_argument);
  CHECK(series.minibatches() == 2);
  CHECK(series.examples == series_of(minibatches(4, 2)).examples);
}

TEST_CASE("a series begins with nothing") {
  const MinibatchSeries<double> nothing;
  CHECK(nothing.channels() == 0);
  CHECK(nothing.minibatches() == 0);
  CHECK(nothing.examples == 0);
}
