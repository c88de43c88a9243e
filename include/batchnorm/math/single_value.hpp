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
#include "batchnorm/math/together.hpp"
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
template <class T, int Channels>
[[gnu::cold]] void learn_single_value(const ForwardCall<T, Channels>& call,
                                      const Moments<accumulator_t<T>, Channels>& batch,
                                      const InputViews<T>& in, const Execution& execution) {
  State<T, Channels> next = call.state;
  if (check_finite<parameter_t<T>>(call.function, call.options, batch)) {
    check_running_update(call.function, call.options, batch, call.state);
    apply_running_update(call.options, batch, next);
  }
  const auto use = usable_running_statistics(call.function, call.options, next, call.state_given);
  normalize_with_tables<Channels>(call.options, next, use, in, call.out.view(), execution);
  *call.step = std::move(next);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_SINGLE_VALUE_HPP
