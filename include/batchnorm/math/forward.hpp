// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_FORWARD_HPP
#define BATCHNORM_MATH_FORWARD_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/single_value.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/check.hpp"

// Ioffe and Szegedy 2015, algorithm 1: the statistics of a minibatch, and the output with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What is left once the moments are there: the output, unless it is written, and the step of a
/// state. It is known before the output is written here that the step will succeed: an output that
/// is its input cannot be computed twice.
template <class T, int Channels>
void forward_with(const ForwardCall<T, Channels>& call,
                  const Moments<accumulator_t<T>, Channels>& batch, const InputViews<T>& in,
                  const Execution& execution, bool written = false) {
  if (batch.count == 0) return fill_output(in, call.out.view(), execution);
  check_batch_size(call.function, call.options, batch.count);
  if (call.step != nullptr && learns_from(call.options, batch.count)) {
    return learn_single_value(call, batch, in, execution);
  }
  const bool update = may_update<parameter_t<T>>(call.function, call.options, batch);
  const auto use =
      usable_statistics(call.function, call.options, call.state, call.state_given, batch);
  const bool steps = call.step != nullptr && update;
  if (steps) check_running_update(call.function, call.options, batch, call.state);
  if (!written) {
    normalize_with_tables<Channels>(call.options, call.state, use, in, call.out.view(), execution);
  }
  if (steps) apply_running_update(call.options, batch, *call.step);
}

/// Whether channels may be written while nobody knows whether others will be rejected: an output of
/// its own may hold anything then, and an input must not be lost, unless nothing can be rejected.
template <class T, int Channels>
bool may_write_early(const ForwardCall<T, Channels>& call, const SelectedInput<T>& chosen) {
  const Index bytes = static_cast<Index>(sizeof(T)) * (chosen.views.residual != nullptr ? 2 : 1);
  if (chosen.count < 2 || stays_resident(chosen.count * call.state.channels() * bytes)) {
    return false;
  }
  const bool never_rejects = call.options.non_finite == NonFinite::propagate &&
                             call.options.epsilon > min_invertible_variance;
  return never_rejects || !ForwardOperands<T>(chosen.views, call.out.view()).data.is_in_place();
}

/// Normalises a minibatch with its own statistics: of this rank, or of all.
template <class T, int Channels>
Moments<accumulator_t<T>, Channels> forward_pass(const ForwardCall<T, Channels>& call,
                                                 const Execution& execution) {
  if (execution.collective() != nullptr) {
    SelectedPointer<T> selected;
    auto batch = forward_together(call, execution, selected);
    forward_with(call, batch, {call.in.view(), call.in.residual(), selected.get()}, execution);
    return batch;
  }
  check_state_shape(call.function, call.state);
  check_forward(call.function, call.state.channels(), call.in, call.out);
  const SelectedInput<T> chosen(call.function, call.in);
  if (chosen.count > 0) check_batch_size(call.function, call.options, chosen.count);
  if (may_write_early(call, chosen)) {
    if (call.step != nullptr) {
      check_running_start(call.function, call.options.running, chosen.count, call.state);
    }
    auto batch = moments_without_sums<Channels, T>(chosen.views.x, chosen.selected.get());
    const bool written = moments_and_output(call.options, call.state, chosen.views, call.out.view(),
                                            execution, batch);
    forward_with(call, batch, chosen.views, execution, written);
    return batch;
  }
  auto batch = moments_of_view<Channels, T>(call.in.view(), chosen.selected.get(), execution);
  forward_with(call, batch, chosen.views, execution);
  return batch;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_FORWARD_HPP
