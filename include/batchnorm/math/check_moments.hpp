// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_MOMENTS_HPP
#define BATCHNORM_MATH_CHECK_MOMENTS_HPP

#include <algorithm>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// What moments, and sums of gradients, must be like before a layer works with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Refuses moments whose numbers no data leave behind, finite ones as they must be.
template <class T, int Channels>
void check_sound_moments(const char* function, const Moments<T, Channels>& moments) {
  check_moments_form(function, moments);
  for (Index channel = 0; channel < moments.channels(); ++channel) {
    const T& mean = moments.mean[channel];
    const T& squares = moments.sum_of_squares[channel];
    const bool empty = moments.count == 0;
    // Of one value all is rounding, of deviations from a pivot that are small beside it.
    const bool one = moments.count == 1 && squares > T(1e-6 * moments.weight()) * (mean * mean);
    if (!is_finite(mean) || !is_finite(squares) || is_negative(squares) || one ||
        (empty && (mean != T(0) || squares != T(0)))) {
      fail_domain(function, text("mean and sum of squares of channel ", channel),
                  empty ? "zero, as there are no values"
                  : one ? "finite numbers, the sum zero, as there is one value"
                        : "finite numbers, the sum not negative",
                  text(static_cast<double>(mean), " and ", static_cast<double>(squares)));
    }
  }
}

/// Refuses moments from outside that belong to another layer or that no data can have.
template <class A, int Channels>
void check_moments(const char* function, const Moments<A, Channels>& moments, Index channels) {
  if (moments.mean.size() != channels || moments.sum_of_squares.size() != channels) {
    fail_argument(function, "number of channels of the moments must be the layer's", text(channels),
                  text(moments.mean.size(), " means and ", moments.sum_of_squares.size(),
                       " sums of squares"));
  }
  check_possible_moments(function, moments);
}

/// Refuses moments of something else than an input.
///
/// @param count  the values per channel that count
template <class A, int Channels>
void check_batch(const char* function, const Moments<A, Channels>& moments, Index channels,
                 Index count) {
  check_moments(function, moments, channels);
  if (moments.count == count) return;
  fail_argument(function, "the moments must be those of this input",
                text("moments of ", count, " values per channel"),
                text("moments of ", moments.count));
}

/// Refuses moments of less than an input that is a piece of what they are the moments of.
template <class A, int Channels>
void check_piece(const char* function, const Moments<A, Channels>& moments, Index channels,
                 Index count) {
  check_moments(function, moments, channels);
  if (moments.count >= count) return;
  fail_argument(function, "the moments must be those of the whole minibatch",
                text("moments of at least the ", count, " values per channel of this piece"),
                text("moments of ", moments.count));
}

/// Refuses sums of another layer, or that lack a piece of the minibatch.
template <class A, int Channels>
void check_sums(const char* function, const GradientSums<A, Channels>& sums, Index channels,
                Index count) {
  if (sums.output_gradient.size() != channels || sums.normalized.size() != channels) {
    fail_argument(function, "number of channels of the sums must be the layer's", text(channels),
                  text(sums.output_gradient.size(), " and ", sums.normalized.size()));
  }
  if (sums.count == count) return;
  fail_argument(function, "the sums must be those of the whole minibatch, all pieces merged",
                text("sums of ", count, " values per channel"), text("sums of ", sums.count));
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

/// The first channel whose statistics are NaN, infinite, or too large for the type T of the
/// parameters; -1 when there is none.
template <class T, class A, int Channels>
Index first_non_finite_channel(const Moments<A, Channels>& moments) {
  const A least_divisor = from_index<A>((std::max)(moments.count - 1, Index{1}));
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
