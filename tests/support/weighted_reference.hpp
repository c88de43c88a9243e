// SPDX-License-Identifier: MIT
// The oracle of a minibatch with weights (0 for what a mask leaves out), in long double:
//
//     m = sum(w x) / W     v = sum(w (x - m)^2) / W     h = (x - m) / sqrt(v + epsilon)
//     y = gamma h + beta
//     dL/dx = gamma / sqrt(v + epsilon) (dy - w / W (sum(dy) + h sum(dy h)))
#ifndef BATCHNORM_TESTS_SUPPORT_WEIGHTED_REFERENCE_HPP
#define BATCHNORM_TESTS_SUPPORT_WEIGHTED_REFERENCE_HPP

#include <Eigen/Core>
#include <cmath>
#include <vector>

#include "support/generators.hpp"
#include "support/reference_batch_norm.hpp"

namespace batchnorm_test {

struct WeightedStep {
  Real weight = 0, squared_weight = 0;
  Size count = 0;
  PerChannel mean, variance, gamma, beta;  ///< gamma, beta: their gradients
  Batch y, dx;
};

/// @param w  one weight per sample and position, of all positions of a sample in a row
inline WeightedStep weighted_step(const Batch& x, const Batch& dy, const std::vector<Real>& w,
                                  const PerChannel& gamma, const PerChannel& beta, Real epsilon) {
  const PerChannel none(x.channels, 0);
  WeightedStep step{0, 0, 0, none, none, none, none, x, x};
  for (const Real weight : w) {
    step.weight += weight;
    step.squared_weight += weight * weight;
    if (weight > 0) ++step.count;
  }
  const auto share = [&](Size n, Size p) { return w[n * x.positions + p] / step.weight; };
  x.each([&](Size n, Size c, Size p) {
    if (share(n, p) > 0) step.mean[c] += share(n, p) * x.at(n, c, p);
  });
  x.each([&](Size n, Size c, Size p) {
    const Real deviation = x.at(n, c, p) - step.mean[c];
    if (share(n, p) > 0) step.variance[c] += share(n, p) * deviation * deviation;
  });
  const auto root = [&](Size c) { return std::sqrt(step.variance[c] + epsilon); };
  const auto h = [&](Size n, Size c, Size p) { return (x.at(n, c, p) - step.mean[c]) / root(c); };
  x.each([&](Size n, Size c, Size p) {
    step.y.at(n, c, p) = gamma[c] * h(n, c, p) + beta[c];
    step.beta[c] += dy.at(n, c, p);
    step.gamma[c] += dy.at(n, c, p) * h(n, c, p);
  });
  x.each([&](Size n, Size c, Size p) {
    const Real through = step.beta[c] + h(n, c, p) * step.gamma[c];
    step.dx.at(n, c, p) = gamma[c] / root(c) * (dy.at(n, c, p) - share(n, p) * through);
  });
  return step;
}

/// The weights of some samples as masked() and weighted() want them: one row per sample.
inline Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic> weight_matrix(
    const std::vector<Real>& w, Size first, Size samples, Size positions) {
  Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic> rows(static_cast<Eigen::Index>(samples),
                                                            static_cast<Eigen::Index>(positions));
  for (Size i = 0; i < samples * positions; ++i) {
    rows(static_cast<Eigen::Index>(i / positions), static_cast<Eigen::Index>(i % positions)) =
        static_cast<double>(w[first * positions + i]);
  }
  return rows;
}

/// Weights of some kinds: numbers, zeros and ones, or only ones; about a third of them 0.
inline std::vector<Real> random_weights(Random& random, Size count, bool mask) {
  std::vector<Real> weights(count);
  for (Real& weight : weights) {
    weight = random.below(3) == 0 ? 0 : mask ? 1 : static_cast<Real>(1 + random.below(8)) / 4;
  }
  return weights;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_WEIGHTED_REFERENCE_HPP
