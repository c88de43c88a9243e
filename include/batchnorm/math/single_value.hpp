// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_SINGLE_VALUE_HPP
#define BATCHNORM_MATH_SINGLE_VALUE_HPP

#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/input.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Trains on one value per channel under SingleValue::update_only: takes it into the running
/// statistics and normalises it with them. Both happen or none.
///
/// Of N values seen before, (x - mean) / deviation = z becomes z sqrt(N / (N + 1)) /
/// sqrt(1 + z^2 / (N + 1)) with population variances and epsilon 0: less than sqrt(N), and z for
/// large N.
/// @param given  whether the layer was given its state
template <class T, int Channels>
Moments<accumulator_t<T>, Channels> learn_single_value(const char* function, const Options& options,
                                                       bool given, State<T, Channels>& state,
                                                       const InputViews<T>& in,
                                                       const Output<T>& out,
                                                       const Execution& execution) {
  auto batch = moments_of_view<Channels, T>(in.x, in.selected, execution);
  State<T, Channels> next = state;
  if (check_finite<parameter_t<T>>(function, options, batch)) {
    check_running_update(function, options, batch, state);
    apply_running_update(options, batch, next);
  }
  check_has_statistics(function, next, given);
  check_statistics(function, next, options.non_finite);
  const auto use = check_inference(function, options, next, statistics_of(next));
  normalize_with_tables<Channels>(options, next, use, in, out.view(), execution);
  state = std::move(next);
  return batch;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_SINGLE_VALUE_HPP
