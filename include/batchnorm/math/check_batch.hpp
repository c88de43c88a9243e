// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_BATCH_HPP
#define BATCHNORM_MATH_CHECK_BATCH_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// What a layer rejects by the policies of its options.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Refuses one value per channel, which has no variance, unless the running statistics are to be
/// used for it.
inline void check_batch_size(const char* function, const Options& options, Index values) {
  if (values != 1 || options.single_value == SingleValue::use_running_statistics) return;
  fail_argument(function, "a minibatch has a variance from two values per channel on",
                "at least 2 values per channel",
                "1; use infer() or freeze() for a single example, they normalise with the "
                "running statistics");
}

/// Whether the running statistics may follow a minibatch; refuses statistics that are not finite
/// where the options say so.
///
/// @tparam C  the type of the parameters, in which statistics must be finite
template <class C, class A, int Channels>
bool check_finite(const char* function, const Options& options, const Moments<A, Channels>& batch) {
  const Index channel = first_non_finite_channel<C>(batch);
  if (channel < 0 || options.non_finite == NonFinite::propagate) return true;
  if (options.non_finite == NonFinite::skip_update) return false;
  fail_domain(function, "the statistics of a minibatch must be finite",
              "finite values in every channel",
              text("NaN, infinity or overflow in channel ", channel));
}

/// Both, of moments from outside: nobody knows who has looked at them.
template <class C, class A, int Channels>
void check_given_batch(const char* function, const Options& options,
                       const Moments<A, Channels>& batch) {
  check_batch_size(function, options, batch.count);
  if (batch.count > 1) check_finite<C>(function, options, batch);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_CHECK_BATCH_HPP
