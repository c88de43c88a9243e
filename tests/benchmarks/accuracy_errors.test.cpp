// SPDX-License-Identifier: MIT
#include "benchmarks/accuracy_errors.hpp"

#include <limits>

#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
using namespace batchnorm_benchmarks;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// What a contender without an error gives for `batch` about 1000.
struct Right {
  explicit Right(const ExactBatch& batch) {
    for (std::size_t channel = 0; channel < 2; ++channel) {
      statistics.mean.push_back(1000.0 + batch.mean(channel));
      statistics.variance.push_back(batch.variance(channel));
    }
    const std::vector<float> in = batch.stored(shape, 1000.0);
    for (std::size_t at = 0; at < in.size(); ++at) {
      const std::size_t channel = at % 2;
      const double centred = static_cast<double>(in[at]) - statistics.mean[channel];
      output.push_back(
          static_cast<float>(centred / std::sqrt(statistics.variance[channel] + epsilon)));
    }
  }

  Shape shape = {Layout::rows, 50, 2, 1, 1};
  BatchStatistics statistics;
  std::vector<float> output;
};

}  // namespace

TEST_CASE("who is right has no error but that of rounding") {
  const ExactBatch batch(50, 2, 9);
  const Right right(batch);
  const Errors errors =
      errors_of(right.statistics, right.output.data(), batch, right.shape, 1000.0);
  CHECK_THAT(errors.mean, WithinAbs(0.0, 1e-12));
  CHECK_THAT(errors.variance, WithinAbs(0.0, 1e-15));
  CHECK_THAT(errors.output, WithinAbs(0.0, 2.5e-7));
}

TEST_CASE("the worst channel and the worst output count") {
  const ExactBatch batch(50, 2, 9);
  Right right(batch);
  right.statistics.mean[1] -= 3.0 * std::sqrt(batch.variance(1));
  right.statistics.variance[0] *= 80.0;
  right.output[7] += 0.5f;
  const Errors errors =
      errors_of(right.statistics, right.output.data(), batch, right.shape, 1000.0);
  CHECK_THAT(errors.mean, WithinRel(3.0, 1e-12));
  CHECK_THAT(errors.variance, WithinRel(79.0, 1e-12));
  CHECK_THAT(errors.output, WithinAbs(0.5, 1e-6));
}

TEST_CASE("a NaN is not lost among larger errors") {
  const ExactBatch batch(50, 2, 9);
  Right right(batch);
  right.statistics.mean[0] = not_a_number;
  right.statistics.mean[1] = 0.0;
  right.output[3] = std::numeric_limits<float>::quiet_NaN();
  const Errors errors =
      errors_of(right.statistics, right.output.data(), batch, right.shape, 1000.0);
  CHECK(std::isnan(errors.mean));
  CHECK(std::isnan(errors.output));
}
