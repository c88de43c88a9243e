// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MERGE_MOMENTS_HPP
#define BATCHNORM_MATH_MERGE_MOMENTS_HPP

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// The arithmetic of merging the moments of two sets of values, a and b, into those of their union
// (Chan, Golub and LeVeque 1979, eq. 2.1), of n_a and n_b values or weights:
//
//     d = mean_b - mean_a      mean = mean_a + d n_b / n
//     sum_of_squares = sum_of_squares_a + sum_of_squares_b + d^2 n_a n_b / n

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Refuses two counts that have no sum: what comes from a file may be as large as it likes.
inline void check_room(const char* function, const char* what, Index count, Index more) {
  constexpr Index most = (std::numeric_limits<Index>::max)();
  if (count <= most - more) return;
  fail_argument(function, text("number of ", what, ", all together"), text("at most ", most),
                text(count, " and ", more));
}

/// A number of channels of sums that may be those of nothing, without channels.
template <int Channels>
Index checked_sum_channels(const char* function, Index channels) {
  if (channels < 0) fail_argument(function, "number of channels", "zero or more", text(channels));
  if (Channels != Eigen::Dynamic && channels != Channels) {
    fail_argument(function, "number of channels is fixed by the type", text(Channels),
                  text(channels));
  }
  return channels;
}

/// What joining b to a needs of their counts, computed once for all channels. `share` is
/// n_b / (n_a + n_b), which is exactly 1 or 0 when one of them is empty.
template <class A>
struct MergeWeights {
  A share;    ///< n_b / n
  A product;  ///< n_a n_b / n

  MergeWeights(Index count_a, Index count_b)
      : MergeWeights(from_index<A>(count_a), from_index<A>(count_b),
                     from_index<A>(count_a + count_b)) {}
  MergeWeights(const A& weight_a, const A& weight_b, const A& total)
      : share(weight_b / total), product(weight_a * share) {}
};

/// Merges (mean, sum of squares) of one channel, or vectors of some, into others, in the order
/// given.
template <class V, class A>
[[gnu::always_inline]] inline void merge_moments(V& mean, V& squares, const V& other_mean,
                                                 const V& other_squares,
                                                 const MergeWeights<A>& weights) {
  const V difference = other_mean - mean;
  mean += difference * weights.share;
  squares += other_squares + difference * difference * weights.product;
}

/// Merges the moments of two sets to the same bits whichever of them is a: the larger set comes
/// first; of two of one size the channel with the larger mean, then the one with the larger sum of
/// squares. Two channels that are alike in all of that are the same numbers.
///
/// What d and its product with n_b / n lose by rounding is carried along (Knuth, The Art of
/// Computer Programming 2, 4.2.2, theorem B, for sums; a fused multiply-add for products). So the
/// mean is rounded once, also where two means cancel, and the variance is off by four roundings at
/// most: of the term in d, of two sums, and of the division by n. Where a compiler may reorder sums
/// (-ffast-math) little is left of that but the order. Scalars of other libraries take the plain
/// formula.
template <class A>
class SymmetricMerge {
 public:
  /// @param weight  how many values the sets have, or the sums of their weights: positive
  SymmetricMerge(const A& weight, const A& other_weight, const A& total)
      : other_first_(weight < other_weight),
        tie_(!other_first_ && !(other_weight < weight)),
        larger_(other_first_ ? other_weight : weight),
        weights_(larger_, other_first_ ? weight : other_weight, total) {
    if constexpr (compensated) {
      const A& smaller = other_first_ ? weight : other_weight;
      share_rest_ = std::fma(-weights_.share, total, smaller) / total;
    }
  }

  /// Merges one channel into (mean, squares).
  void operator()(A& mean, A& squares, const A& other_mean, const A& other_squares) const {
    const bool larger = other_mean > mean || (!(mean > other_mean) && other_squares > squares);
    Channel first{mean, squares};
    Channel second{other_mean, other_squares};
    if (other_first_ || (tie_ && larger)) std::swap(first, second);
    if constexpr (compensated) {
      merge_compensated(first, second);
    } else {
      merge_moments(first.mean, first.squares, second.mean, second.squares, weights_);
    }
    mean = first.mean;
    squares = first.squares;
  }

 private:
  static constexpr bool compensated = std::is_floating_point<A>::value;

  struct Channel {
    A mean, squares;
  };

  /// a + b - sum, exactly, where sum is a + b rounded.
  static A lost(const A& a, const A& b, const A& sum) {
    const A b_part = sum - a;
    return (a - (sum - b_part)) + (b - b_part);
  }

  void merge_compensated(Channel& to, const Channel& other) const {
    const A d = other.mean - to.mean;
    const A d_rest = lost(other.mean, A(-to.mean), d);
    const A step = d * weights_.share;
    const A step_rest =
        std::fma(d, weights_.share, -step) + (d_rest * weights_.share + d * share_rest_);
    const A square = std::fma(d, step, d * step_rest + d_rest * step);
    to.squares += std::fma(square, larger_, other.squares);
    const A mean = to.mean + step;
    const A rest = lost(to.mean, step, mean) + step_rest;
    to.mean = is_finite(rest) ? mean + rest : mean;
  }

  bool other_first_;
  bool tie_;
  A larger_;  ///< n_a
  MergeWeights<A> weights_;
  A share_rest_ = A(0);  ///< n_b / n - share
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MERGE_MOMENTS_HPP
