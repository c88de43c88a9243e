// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_CHECKED_STATISTICS_HPP
#define BATCHNORM_VARIANTS_CHECKED_STATISTICS_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/input.hpp"

// What functions outside of a layer ask of it before they compute with its statistics: what its own
// calls ask.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
struct ExactlyOf {
  using Type = T;
};
/// T, where a compiler is to find T from another argument: an Input<Exactly<T>> takes what can be
/// converted to it.
template <class T>
using Exactly = typename ExactlyOf<T>::Type;

template <class T, int Channels>
using MomentsOf = typename BatchNorm<T, Channels>::BatchMoments;

/// The running statistics of a layer.
/// @throws what BatchNorm::infer throws for them
template <class T, int Channels>
StatisticsView<accumulator_t<T>> running_statistics_of(const char* function,
                                                       const BatchNorm<T, Channels>& layer) {
  const State<T, Channels>& state = layer.state();
  check_has_statistics(function, state, layer.has_statistics());
  check_statistics(function, state, layer.options().non_finite);
  return check_inference(function, layer.options(), state, statistics_of(state));
}

/// Those of a minibatch; those of the layer where it has one value per channel.
template <class T, int Channels>
StatisticsView<accumulator_t<T>> batch_statistics_of(const char* function,
                                                     const BatchNorm<T, Channels>& layer,
                                                     const MomentsOf<T, Channels>& batch) {
  if (batch.count == 1) return running_statistics_of(function, layer);
  return check_inference(function, layer.options(), layer.state(), statistics_of(batch));
}

/// Refuses an epilogue, where its derivative or its output is the caller's to apply.
inline void refuse_epilogue(const char* function, const Options& options, const char* instead) {
  if (options.epilogue.is_identity()) return;
  fail_argument(function, "the layer has no epilogue", instead, "one with an epilogue");
}

template <class T>
void refuse_residual(const char* function, const Input<T>& in) {
  if (in.residual() == nullptr) return;
  fail_argument(function, "an input has no residual here, as nothing depends on it but the output",
                "x", "with_residual");
}

template <class T>
void refuse_mask(const char* function, const Input<T>& in, const char* why) {
  if (in.mask() == nullptr) return;
  fail_argument(function, why, "an input without a mask and weights", "masked or weighted");
}

/// Refuses ranks: each would take the statistics of its own part, and the layers would drift apart.
inline void refuse_ranks(const char* function, const Execution& execution) {
  if (execution.collective() == nullptr) return;
  fail_argument(function, "statistics are those of the minibatch of this rank",
                "an Execution of one rank", "one with a Synchronize");
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_CHECKED_STATISTICS_HPP
