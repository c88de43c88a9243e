// SPDX-License-Identifier: MIT
// The running statistics of every system, each in the form in which its authors write it down:
// sums over all minibatches at once wherever there is one, never the library's R += f (s - R).
#ifndef BATCHNORM_TESTS_SUPPORT_REFERENCE_RUNNING_HPP
#define BATCHNORM_TESTS_SUPPORT_REFERENCE_RUNNING_HPP

#include <cmath>

#include "support/reference_batch_norm.hpp"

namespace batchnorm_test::reference {

/// What one channel gave in each minibatch, in order: a mean, or a variance.
using History = std::vector<Real>;

/// PyTorch, MLX, MATLAB: R = m s + (1 - m) R, unrolled over k minibatches:
/// R_k = (1 - m)^k R_0 + m sum_j (1 - m)^(k - j) s_j.
inline Real weight_of_new(Real m, Real initial, const History& statistics) {
  const Real k = static_cast<Real>(statistics.size());
  Real result = std::pow(1 - m, k) * initial, j = 0;
  for (const Real statistic : statistics) result += m * std::pow(1 - m, k - ++j) * statistic;
  return result;
}

/// Keras, Flax, ONNX: R = m R + (1 - m) s, unrolled:
/// R_k = m^k R_0 + (1 - m) sum_j m^(k - j) s_j.
inline Real weight_of_old(Real m, Real initial, const History& statistics) {
  const Real k = static_cast<Real>(statistics.size());
  Real result = std::pow(m, k) * initial, j = 0;
  for (const Real statistic : statistics) result += (1 - m) * std::pow(m, k - ++j) * statistic;
  return result;
}

/// PyTorch with momentum=None, and algorithm 2 of the paper: the average over minibatches.
inline Real average(const History& statistics) {
  Real sum = 0;
  for (const Real statistic : statistics) sum += statistic;
  return sum / static_cast<Real>(statistics.size());
}

/// Haiku: hidden = d hidden + (1 - d) s from 0; average = hidden / (1 - d^k). The divisor is what
/// hidden would be had every s been 1, which is how it is computed: 1 - d^k cancels.
inline Real haiku(Real d, const History& statistics) {
  Real hidden = 0, divisor = 0;
  for (const Real statistic : statistics) {
    hidden = d * hidden + (1 - d) * statistic;
    divisor = d * divisor + (1 - d);
  }
  return hidden / divisor;
}

/// dlib: f = 1 / (1 + min(minibatches so far, window)); R = (1 - f) R + f s.
inline Real dlib(Real window, const History& statistics) {
  Real running = 0, so_far = 0;
  for (const Real statistic : statistics) {
    const Real f = 1 / (1 + std::fmin(so_far++, window));
    running = (1 - f) * running + f * statistic;
  }
  return running;
}

/// All values of one channel seen so far, thrown together.
struct Pooled {
  Real count, mean, squares;  // squares: sum of (x - mean)^2
};

inline Pooled pool(const std::vector<Batch>& batches, Size channel) {
  Pooled all{0, 0, 0};
  const auto each_value = [&](const auto& body) {
    for (const Batch& batch : batches)
      for (Size n = 0; n < batch.samples; ++n)
        for (Size p = 0; p < batch.positions; ++p) body(batch.at(n, channel, p));
  };
  each_value([&](Real x) { all.mean += x, all.count += 1; });
  all.mean /= all.count;
  each_value([&](Real x) { all.squares += (x - all.mean) * (x - all.mean); });
  return all;
}

}  // namespace batchnorm_test::reference

#endif  // BATCHNORM_TESTS_SUPPORT_REFERENCE_RUNNING_HPP
