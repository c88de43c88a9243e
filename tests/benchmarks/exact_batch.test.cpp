// SPDX-License-Identifier: MIT
#include "benchmarks/exact_batch.hpp"

#include <cmath>
#include <map>
#include <utility>

#include "benchmarks/accuracy_rows.hpp"
#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
using namespace batchnorm_benchmarks;

namespace {

/// Of one channel of what is stored channel last, about the offset.
std::pair<long double, long double> naive_moments(const std::vector<float>& stored,
                                                  std::size_t channels, std::size_t channel,
                                                  double offset) {
  const auto n = static_cast<long double>(stored.size() / channels);
  long double mean = 0, variance = 0;
  for (std::size_t at = channel; at < stored.size(); at += channels) {
    mean += (static_cast<long double>(stored[at]) - static_cast<long double>(offset)) / n;
  }
  for (std::size_t at = channel; at < stored.size(); at += channels) {
    const long double d =
        static_cast<long double>(stored[at]) - static_cast<long double>(offset) - mean;
    variance += d * d / n;
  }
  return {mean, variance};
}

}  // namespace

TEST_CASE("the generator gives the same bits everywhere") {
  // SplitMix64 of state 7 and its popcounts, worked out with Python's integers.
  const ExactBatch batch(2, 2, 7);
  const std::vector<float> stored = batch.stored({Layout::rows, 2, 2, 1, 1}, 0);
  CHECK(stored == std::vector<float>{0.5f, 1.0f, 0.0625f, -1.125f});
}

TEST_CASE("mean and variance are those of the stored values, whatever the offset") {
  const ExactBatch batch(1000, 3, 5);
  for (const double offset : {0.0, 1000.0, -1000.0, ExactBatch::largest_offset}) {
    const std::vector<float> stored = batch.stored({Layout::rows, 1000, 3, 1, 1}, offset);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const auto naive = naive_moments(stored, 3, channel, offset);
      CHECK_THAT(batch.mean(channel), WithinAbs(static_cast<double>(naive.first), 1e-15));
      CHECK_THAT(batch.variance(channel), WithinRel(static_cast<double>(naive.second), 1e-14));
    }
  }
}

TEST_CASE("the deviation is 1, and channels differ") {
  const ExactBatch batch(10'000, 2, 1);
  for (std::size_t channel = 0; channel < 2; ++channel) {
    // Four times the deviation of a mean and of a variance of so many normal numbers.
    CHECK_THAT(batch.mean(channel), WithinAbs(0.0, 4.0 * 0.01));
    CHECK_THAT(batch.variance(channel), WithinAbs(1.0, 4.0 * 0.0142));
  }
  CHECK(std::abs(batch.mean(0) - batch.mean(1)) > 0.0);
}

TEST_CASE("every layout stores the same values of each channel") {
  const ExactBatch batch(24, 2, 3);
  const std::vector<float> rows = batch.stored({Layout::rows, 24, 2, 1, 1}, 10);
  CHECK(batch.stored({Layout::nhwc, 4, 2, 2, 3}, 10) == rows);
  const std::vector<float> nchw = batch.stored({Layout::nchw, 4, 2, 2, 3}, 10);
  REQUIRE(nchw.size() == rows.size());
  for (std::size_t sample = 0; sample < 4; ++sample) {
    for (std::size_t channel = 0; channel < 2; ++channel) {
      for (std::size_t position = 0; position < 6; ++position) {
        const float value = nchw[(sample * 2 + channel) * 6 + position];
        CHECK(std::equal_to<>()(value, rows[(sample * 6 + position) * 2 + channel]));
      }
    }
  }
}
