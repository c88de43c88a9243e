// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP
#define BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP

#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Sums with weights: in the accumulator, as no kernel knows weights.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Adds sum(w d) and sum(w d^2), d = x - pivot, in eight partial sums.
template <class A>
void add_weighted_deviations(const A* x, const double* w, Index count, const A& pivot, A& sum,
                             A& square_sum) {
  constexpr Index lanes = 8;
  A sums[lanes];
  A squares[lanes];
  std::fill_n(sums, lanes, A(0));
  std::fill_n(squares, lanes, A(0));
  const auto add = [&](Index lane, Index i) {
    const A deviation = x[i] - pivot;
    const A weighted = A(w[i]) * deviation;
    sums[lane] += weighted;
    squares[lane] += weighted * deviation;
  };
  Index i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (Index lane = 0; lane < lanes; ++lane) add(lane, i + lane);
  }
  for (Index lane = 0; i < count; ++i, ++lane) add(lane, i);
  for (Index half = lanes / 2; half > 0; half /= 2) {
    for (Index lane = 0; lane < half; ++lane) {
      sums[lane] += sums[lane + half];
      squares[lane] += squares[lane + half];
    }
  }
  sum += sums[0];
  square_sum += squares[0];
}

/// Adds w d and w d^2 of one value of each channel, d = x - pivot.
template <class T, class A>
void add_weighted_row(const T* x, const A& weight, const A* pivots, Index channels, A* sums,
                      A* squares) {
  const auto add = [&](Index c) {
    const A deviation = convert<A>(x[c]) - pivots[c];
    const A weighted = weight * deviation;
    sums[c] += weighted;
    squares[c] += weighted * deviation;
  };
  constexpr Index together = 8;
  Index c = 0;
  for (; c + together <= channels; c += together) {
    for (Index i = c; i < c + together; ++i) add(i);
  }
  for (; c < channels; ++c) add(c);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP
