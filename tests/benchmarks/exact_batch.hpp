// SPDX-License-Identifier: MIT
// Minibatches whose mean and variance are known exactly, about whatever mean.
#ifndef BATCHNORM_TESTS_BENCHMARKS_EXACT_BATCH_HPP
#define BATCHNORM_TESTS_BENCHMARKS_EXACT_BATCH_HPP

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/row.hpp"
#include "support/generators.hpp"

namespace batchnorm_benchmarks {

/// Deviations from the mean: of every channel as many, binomial(1024, 1/2) - 512 in units of a
/// sixteenth, which is nearly a normal number of deviation 1. A float holds every sum of a multiple
/// of 1/16 and a whole number of at most a million, so that all offsets and layouts store the same
/// deviations, and whole numbers sum them up without an error.
class ExactBatch {
 public:
  static constexpr double unit = 1.0 / 16;
  static constexpr double largest_offset = 1e6;

  ExactBatch(std::int64_t values_per_channel, std::int64_t channels, std::uint64_t seed)
      : count_(static_cast<std::size_t>(values_per_channel)),
        channels_(static_cast<std::size_t>(channels)),
        units_(count_ * channels_),
        sums_(channels_, 0),
        squares_(channels_, 0) {
    batchnorm_test::Random random(seed);
    for (std::size_t at = 0; at < units_.size(); ++at) {
      const std::int64_t units = binomial(random);
      units_[at] = static_cast<std::int16_t>(units);
      sums_[at % channels_] += units;
      squares_[at % channels_] += units * units;
    }
  }

  /// Without an offset.
  double mean(std::size_t channel) const {
    return unit * static_cast<double>(sums_[channel]) / static_cast<double>(count_);
  }

  /// Biased.
  double variance(std::size_t channel) const {
    const auto n = static_cast<std::int64_t>(count_);
    const std::int64_t numerator = n * squares_[channel] - sums_[channel] * sums_[channel];
    return unit * unit * static_cast<double>(numerator) / static_cast<double>(n * n);
  }

  /// body(channel, index in memory, value without an offset) for every element of that layout; the
  /// shape has as many channels and values as this.
  template <class Body>
  void each(const Shape& shape, const Body& body) const {
    const bool apart = shape.layout == Layout::nchw;
    const std::size_t run = apart ? static_cast<std::size_t>(shape.positions()) : 1;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t sample = i / run * channels_ * run + i % run;
      for (std::size_t channel = 0; channel < channels_; ++channel) {
        body(channel, sample + channel * run, unit * units_[i * channels_ + channel]);
      }
    }
  }

  /// What contenders are given. `offset` is a whole number of at most a million.
  std::vector<float> stored(const Shape& shape, double offset) const {
    std::vector<float> values(units_.size());
    each(shape, [&](std::size_t, std::size_t at, double value) {
      values[at] = static_cast<float>(offset + value);
    });
    return values;
  }

 private:
  static std::int64_t binomial(batchnorm_test::Random& random) {
    std::size_t ones = 0;
    for (int word = 0; word < 16; ++word) ones += std::bitset<64>(random.bits()).count();
    return static_cast<std::int64_t>(ones) - 512;
  }

  std::size_t count_, channels_;
  std::vector<std::int16_t> units_;  // a value of every channel, then the next of every channel
  std::vector<std::int64_t> sums_, squares_;
};

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_EXACT_BATCH_HPP
