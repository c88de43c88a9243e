// SPDX-License-Identifier: MIT
// How far a contender's mean, variance and output are from the exact ones.
#ifndef BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ERRORS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ERRORS_HPP

#include <cmath>
#include <cstddef>
#include <vector>

#include "benchmarks/contender.hpp"
#include "benchmarks/exact_batch.hpp"

namespace batchnorm_benchmarks {

/// The largest over all channels; NaN where there is one.
struct Errors {
  double mean = 0.0;      ///< in deviations
  double variance = 0.0;  ///< as a share of the right one
  double output = 0.0;    ///< with gamma 1 and beta 0: in deviations
};

inline void keep_larger(double& largest, double error) {
  if (!(error <= largest) && !std::isnan(largest)) largest = error;
}

/// Of what was made of batch.stored(shape, offset). The right output comes from the deviations
/// without the offset, so that it has no error of the offset's size.
inline Errors errors_of(const BatchStatistics& got, const float* output, const ExactBatch& batch,
                        const Shape& shape, double offset) {
  std::vector<double> mean(got.mean.size()), inverse_std_dev(got.mean.size());
  Errors errors;
  for (std::size_t channel = 0; channel < mean.size(); ++channel) {
    const double variance = batch.variance(channel);
    mean[channel] = batch.mean(channel);
    inverse_std_dev[channel] = 1.0 / std::sqrt(variance + epsilon);
    const double off = std::abs(got.mean[channel] - offset - mean[channel]);
    keep_larger(errors.mean, off / std::sqrt(variance));
    keep_larger(errors.variance, std::abs(got.variance[channel] - variance) / variance);
  }
  batch.each(shape, [&](std::size_t channel, std::size_t at, double value) {
    const double expected = (value - mean[channel]) * inverse_std_dev[channel];
    keep_larger(errors.output, std::abs(static_cast<double>(output[at]) - expected));
  });
  return errors;
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ACCURACY_ERRORS_HPP
