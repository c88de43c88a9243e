// SPDX-License-Identifier: MIT
// What ranks have after a step of training, and what must be the same on all of them.
#ifndef BATCHNORM_TESTS_SUPPORT_RANK_STEPS_HPP
#define BATCHNORM_TESTS_SUPPORT_RANK_STEPS_HPP

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/shards.hpp"

namespace batchnorm_test {

/// How near results of ranks without blocks are to those of one machine.
constexpr Real near = 1e-12L;

template <class T>
using Steps = std::vector<Step<T>>;

template <class Vector>
PerChannel to_real(const Vector& values) {
  PerChannel numbers;
  for (batchnorm::Index i = 0; i < values.size(); ++i)
    numbers.push_back(static_cast<Real>(values[i]));
  return numbers;
}

/// NaN where there is one.
inline Real largest_difference(const std::vector<Real>& a, const std::vector<Real>& b) {
  REQUIRE(a.size() == b.size());
  Real most = 0;
  for (Size i = 0; i < a.size(); ++i) {
    const Real difference = std::fabs(a[i] - b[i]);
    if (std::isnan(difference)) return difference;
    most = std::max(most, difference);
  }
  return most;
}

/// The same in units of the largest of `b`, when that is above 1.
inline Real gap(const std::vector<Real>& a, const std::vector<Real>& b) {
  Real scale = 1;
  for (const Real value : b) scale = std::max(scale, std::fabs(value));
  return largest_difference(a, b) / scale;
}

/// All ranks have the same moments and running statistics, to the bit.
template <class T>
void check_same_statistics(const Steps<T>& steps) {
  for (const Step<T>& step : steps) {
    CHECK(step.batch.count == steps[0].batch.count);
    CHECK(step.batch.mean == steps[0].batch.mean);
    CHECK(step.batch.sum_of_squares == steps[0].batch.sum_of_squares);
    CHECK(step.state.running_mean == steps[0].state.running_mean);
    CHECK(step.state.running_variance == steps[0].state.running_variance);
    CHECK(step.state.batches_seen == steps[0].state.batches_seen);
    CHECK(step.state.samples_seen == steps[0].state.samples_seen);
  }
}

/// The gradients of gamma or beta of all ranks, added up.
template <class T>
PerChannel sum_of(const Steps<T>& steps,
                  typename batchnorm::Gradients<T>::Vector batchnorm::Gradients<T>::*part) {
  PerChannel sums(static_cast<Size>((steps[0].gradients.*part).size()), 0);
  for (const Step<T>& step : steps) {
    const PerChannel own = to_real(step.gradients.*part);
    for (Size c = 0; c < own.size(); ++c) sums[c] += own[c];
  }
  return sums;
}

template <class T>
Batch outputs_of(const Steps<T>& steps, Batch Step<T>::*part) {
  std::vector<Batch> shards;
  for (const Step<T>& step : steps) shards.push_back(step.*part);
  return joined(shards);
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_RANK_STEPS_HPP
