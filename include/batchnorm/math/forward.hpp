// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_FORWARD_HPP
#define BATCHNORM_MATH_FORWARD_HPP

#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/selected.hpp"
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
#include "batchnorm/view/check.hpp"

// Ioffe and Szegedy 2015, algorithm 1: the statistics of a minibatch, and the output with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T, int Channels>
struct ForwardResult {
  Moments<accumulator_t<T>, Channels> batch;
  bool update;  ///< whether the running statistics follow
};

/// What is left once the moments are there. When a commit follows, it is known before the output is
/// written that it will succeed: an output that is its input cannot be computed twice.
template <class T, int Channels>
ForwardResult<T, Channels> forward_with(const ForwardCall<T, Channels>& call,
                                        Moments<accumulator_t<T>, Channels> batch,
                                        const InputViews<T>& in, const Execution& execution) {
  if (batch.count == 0) {
    fill_output(in, call.out.view(), execution);
    return {std::move(batch), false};
  }
  check_batch_size(call.function, call.options, batch.count);
  const bool update =
      batch.count > 1 && check_finite<parameter_t<T>>(call.function, call.options, batch);
  const auto use =
      usable_statistics(call.function, call.options, call.state, call.state_given, batch);
  if (call.commit && update) check_running_update(call.function, call.options, batch, call.state);
  normalize_with_tables<Channels>(call.options, call.state, use, in, call.out.view(), execution);
  return {std::move(batch), update};
}

/// Normalises a minibatch with its own statistics: of this rank, or of all.
template <class T, int Channels>
ForwardResult<T, Channels> forward_pass(const ForwardCall<T, Channels>& call,
                                        const Execution& execution) {
  if (execution.collective() != nullptr) {
    SelectedPointer<T> selected;
    auto batch = forward_together(call, execution, selected);
    return forward_with(call, std::move(batch),
                        {call.in.view(), call.in.residual(), selected.get()}, execution);
  }
  check_state_shape(call.function, call.state);
  check_forward(call.function, call.state.channels(), call.in, call.out);
  const SelectedInput<T> chosen(call.function, call.in);
  if (chosen.count > 0) check_batch_size(call.function, call.options, chosen.count);
  // Where nothing can be rejected, a channel may be written before the next one is looked at.
  if (chosen.selected == nullptr && chosen.count > 1 &&
      call.options.non_finite == NonFinite::propagate &&
      call.options.epsilon > min_invertible_variance) {
    if (call.commit) {
      check_running_start(call.function, call.options.running, chosen.count, call.state);
    }
    return {normalize_fused(call.options, call.state, chosen.views, call.out.view(), execution),
            true};
  }
  return forward_with(
      call, moments_of_view<Channels, T>(call.in.view(), chosen.selected.get(), execution),
      chosen.views, execution);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_FORWARD_HPP
