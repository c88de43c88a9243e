// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_EFFECTIVE_VALUES_HPP
#define BATCHNORM_RECALIBRATE_EFFECTIVE_VALUES_HPP

#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"

// How many independent values of equal weight moments are worth: what errors of means, shares of
// mixtures and tests of drift are computed with.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How many values of equal weight have a mean of the same error: W where weights are frequencies,
/// otherwise W^2 / sum(w^2); n where nothing has a weight. Shapes: `moments` of any number of
/// channels. Errors: none. Cost: constant. Source: Kish 1965, Survey Sampling, 8.2.
template <class T, int Channels>
double values_of_equal_weight(const Moments<T, Channels>& moments) {
  const double weight = moments.weight();
  if (moments.weights() == Weights::frequency || !(weight > 0.0)) return weight;
  return weight * weight / moments.squared_weight();
}

namespace detail {

/// Refuses a number of values that are worth one.
inline void check_values_alike(const char* function, double values) {
  if (is_finite(values) && values >= 1.0) return;
  fail_argument(function, "how many values are worth one independent value",
                "a finite number, 1 or larger", text(values));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_EFFECTIVE_VALUES_HPP
