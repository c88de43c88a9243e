// SPDX-License-Identifier: MIT
// Streams of normal values for simulations: many at a time, as the channels of moments.
#ifndef BATCHNORM_TESTS_SUPPORT_NORMAL_STREAMS_HPP
#define BATCHNORM_TESTS_SUPPORT_NORMAL_STREAMS_HPP

#include <cmath>
#include <cstdint>
#include <vector>

#include "batchnorm/math/moments.hpp"
#include "support/generators.hpp"

namespace batchnorm_test {

/// Mean 0, deviation 1, with the tails of a normal distribution, which Random::normal does not have
/// (Box and Muller 1958).
class NormalValues {
 public:
  explicit NormalValues(std::uint64_t seed) : random_(seed) {}

  double operator()() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2 * std::log(1 - random_.uniform()));
    const double angle = 6.283185307179586 * random_.uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  Random random_;
  double spare_ = 0;
  bool has_spare_ = false;
};

/// The moments of a batch of every channel, by their definition.
inline batchnorm::Moments<double> normal_moments(NormalValues& normal, Eigen::Index channels,
                                                 Eigen::Index count, double mean = 0,
                                                 double deviation = 1) {
  batchnorm::Moments<double> moments(channels);
  moments.count = count;
  std::vector<double> values(static_cast<Size>(count));
  for (Eigen::Index c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (double& value : values) sum += value = mean + deviation * normal();
    const double own = sum / static_cast<double>(count);
    for (const double value : values) squares += (value - own) * (value - own);
    moments.mean[c] = own;
    moments.sum_of_squares[c] = squares;
  }
  return moments;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_NORMAL_STREAMS_HPP
