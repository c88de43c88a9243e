// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_MOMENTS_HPP
#define BATCHNORM_MATH_CHECK_MOMENTS_HPP

#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"

// What moments must be like before a layer works with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Refuses moments from outside that belong to another layer or that no data can have.
template <class A, int Channels>
void check_moments(const char* function, const Moments<A, Channels>& moments, Index channels) {
  if (moments.mean.size() != channels || moments.sum_of_squares.size() != channels) {
    fail_argument(function, "number of channels of the moments must be the layer's", text(channels),
                  text(moments.mean.size(), " means and ", moments.sum_of_squares.size(),
                       " sums of squares"));
  }
  if (moments.count < 0) {
    fail_argument(function, "count of the moments", "zero or more", text(moments.count));
  }
  for (Index channel = 0; channel < channels; ++channel) {
    if (is_negative(moments.sum_of_squares[channel])) {
      fail_domain(function, text("sum of squares of channel ", channel), "zero or larger",
                  "a negative number");
    }
  }
}

/// Stops at channels of which a mean or a sum of squares is not plainly finite, also in T.
template <class T, class A, int Channels>
struct FiniteMoments {
  const Moments<A, Channels>& moments;
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    simd::Vector<A, Lanes> mean, squares, most;
    load_channels<A, Lanes>(mean, moments.mean.data(), group);
    load_channels<A, Lanes>(squares, moments.sum_of_squares.data(), group);
    simd::broadcast<A, Lanes>(most, convert<A>((std::numeric_limits<T>::max)()));
    simd::replace_negative(mean, simd::Vector<A, Lanes>(-mean));
    AllLanes<A, Lanes> good;
    good.finite(mean);
    good.finite(squares);
    good.at_most(mean, most);
    good.at_most(squares, most);
    if (!good.passed()) reached = group.first;
    return good.passed();
  }
};

/// The first channel whose statistics are NaN, infinite, or too large for the type T that running
/// statistics are kept in; -1 when there is none.
template <class T, class A, int Channels>
Index first_non_finite_channel(const Moments<A, Channels>& moments) {
  const A least_divisor = from_index<A>(moments.count > 1 ? moments.count - 1 : 1);
  Index reached = moments.channels();
  for_channels<A>(0, reached, FiniteMoments<T, A, Channels>{moments, reached});
  for (Index channel = reached; channel < moments.channels(); ++channel) {
    const A& squares = moments.sum_of_squares[channel];
    if (!is_finite_as<T>(moments.mean[channel])) return channel;
    // Hardly ever is there a need to divide.
    if (!is_finite_as<T>(squares) && !is_finite_as<T>(A(squares / least_divisor))) return channel;
  }
  return -1;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_CHECK_MOMENTS_HPP
