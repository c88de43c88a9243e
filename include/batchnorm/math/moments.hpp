// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MOMENTS_HPP
#define BATCHNORM_MATH_MOMENTS_HPP

#include <cmath>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Count, mean and sum of squared deviations of every channel: all that a minibatch leaves behind.
/// Moments of disjoint sets of values merge into those of their union, in any order and any tree,
/// so the same type serves chunks, minibatches, threads and whole training sets.
///
///     mean = sum(x) / n        sum_of_squares = sum((x - mean)^2)
///
/// @tparam T         the type they are kept in, accumulator_t of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
struct Moments {
  using Scalar = T;
  using Vector = ChannelVector<T, Channels>;

  Index count = 0;        ///< n: values per channel, the same for all channels
  Vector mean;            ///< one per channel
  Vector sum_of_squares;  ///< about the mean, one per channel; never negative

  /// The moments of nothing; merging them with others gives exactly the others.
  Moments() : Moments(Channels == Eigen::Dynamic ? 0 : Channels) {}
  explicit Moments(Index channels) : mean(Vector::Zero(channels)), sum_of_squares(mean) {}

  Index channels() const { return mean.size(); }

  /// The moments of both sets of values together (Chan, Golub and LeVeque 1979, eq. 2.1):
  ///
  ///     d = mean_b - mean_a      mean = mean_a + d n_b / n
  ///     sum_of_squares = sum_of_squares_a + sum_of_squares_b + d^2 n_a n_b / n
  ///
  /// @throws std::invalid_argument when the numbers of channels differ (moments of nothing that
  /// were
  ///         made without a number of channels merge with any). Nothing is changed then.
  void merge(const Moments& other);

  /// sum_of_squares / n, the biased estimate that normalises a minibatch.
  /// @throws std::domain_error when there are no values.
  Vector population_variance() const {
    check_count("Moments::population_variance", 1);
    return sum_of_squares / detail::from_index<T>(count);
  }

  /// sum_of_squares / (n - 1), the unbiased estimate.
  /// @throws std::domain_error when there are fewer than two values.
  Vector sample_variance() const {
    check_count("Moments::sample_variance", 2);
    return sum_of_squares / detail::from_index<T>(count - 1);
  }

 private:
  void check_count(const char* function, Index least) const {
    if (count < least) {
      detail::fail_domain(function, "number of values per channel",
                          detail::text("at least ", least), detail::text(count));
    }
  }
};

namespace detail {

/// Merges (mean, sum of squares) `from` into `into`; the one place where the formula stands.
template <class A>
void merge_moments(A& mean, A& squares, const A& other_mean, const A& other_squares,
                   const loops::MergeWeights<A>& weights) {
  const A difference = other_mean - mean;
  mean += difference * weights.share;
  squares += other_squares + difference * difference * weights.product;
}

/// The Reduction that computes moments. About the mean m' of a chunk, which rounding has moved away
/// from the exact one, the corrected two-pass formula holds (Chan, Golub and LeVeque 1983,
/// eq. 1.7):
///
///     mean = m' + sum(x - m') / n
///     sum_of_squares = sum((x - m')^2) - (sum(x - m'))^2 / n
///
/// Until all chunks are merged, means are kept relative to an origin, the first value of the
/// channel. A mean itself could be a million deviations large, and what rounding takes from it
/// would enter the squares through the differences of chunk means; the first value is at most
/// sqrt(n) deviations away from the mean, whatever the data.
template <class T, int Channels>
class MomentsReduction {
 public:
  using Accumulator = accumulator_t<T>;
  static constexpr int sums = 2;
  static constexpr bool recentres = true;

  MomentsReduction(const BatchView<const T>& view, Moments<Accumulator, Channels>& moments)
      : view_(view), moments_(moments) {}

  Accumulator origin(Index channel) const { return convert<Accumulator>(view_(0, channel, 0)); }

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    const V deviation = x[0] - pivot;
    s[0] += deviation;
    s[1] += deviation * deviation;
  }

  [[gnu::always_inline]] static void close(Accumulator* s, const Accumulator& place,
                                           const Accumulator& count) {
    using std::abs;
    const Accumulator sum = s[0];
    const Accumulator correction = sum / count;
    s[0] = place + correction;
    // Negative only by rounding. Its size is as good an answer as zero, and keeps a NaN to be seen,
    // which a comparison may lose under -ffast-math.
    s[1] = abs(Accumulator(s[1] - sum * correction));
  }

  [[gnu::always_inline]] static void merge(Accumulator* into, const Accumulator* from,
                                           const loops::MergeWeights<Accumulator>& weights) {
    merge_moments(into[0], into[1], from[0], from[1], weights);
  }

  Accumulator* result(int k) const {
    return (k == 0 ? moments_.mean : moments_.sum_of_squares).data();
  }

 private:
  const BatchView<const T>& view_;
  Moments<Accumulator, Channels>& moments_;
};

/// The moments of a view whose number of channels has been checked.
template <int Channels, class T>
Moments<accumulator_t<T>, Channels> moments_of_view(const BatchView<const T>& view,
                                                    const Execution& execution) {
  Moments<accumulator_t<T>, Channels> moments(view.channels());
  if (view.empty()) return moments;
  moments.count = view.values_per_channel();
  const MomentsReduction<T, Channels> reduction(view, moments);
  loops::reduce(execution, reduction, view);
  for (Index channel = 0; channel < view.channels(); ++channel) {
    moments.mean[channel] += reduction.origin(channel);
  }
  return moments;
}

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

/// The first channel whose statistics are NaN, infinite, or too large for the type T that running
/// statistics are kept in; -1 when there is none.
template <class T, class A, int Channels>
Index first_non_finite_channel(const Moments<A, Channels>& moments) {
  const A least_divisor = from_index<A>(moments.count > 1 ? moments.count - 1 : 1);
  for (Index channel = 0; channel < moments.channels(); ++channel) {
    const A largest_variance = moments.sum_of_squares[channel] / least_divisor;
    if (!is_finite_as<T>(moments.mean[channel]) || !is_finite_as<T>(largest_variance)) {
      return channel;
    }
  }
  return -1;
}

}  // namespace detail

template <class T, int Channels>
void Moments<T, Channels>::merge(const Moments& other) {
  if (other.count == 0 && (other.channels() == 0 || other.channels() == channels())) return;
  if (channels() != other.channels() && !(count == 0 && channels() == 0)) {
    detail::fail_argument("Moments::merge", "number of channels must be the same",
                          detail::text(channels()), detail::text(other.channels()));
  }
  if (count == 0) {
    *this = other;
    return;
  }
  const loops::MergeWeights<T> weights(count, other.count);
  for (Index channel = 0; channel < channels(); ++channel) {
    detail::merge_moments(mean[channel], sum_of_squares[channel], other.mean[channel],
                          other.sum_of_squares[channel], weights);
  }
  count += other.count;
}

/// The moments of every channel of a minibatch: a view, or an Eigen matrix of features x examples.
///
/// Two passes over chunks of the data that fit the first-level cache, summed in double (for float,
/// half and bfloat16) about the chunk's own mean and merged in a fixed order: no form of
/// E[x^2] - E[x]^2 anywhere. For means of up to 1e6 standard deviations and up to 1e8 values the
/// variance is right to 1e-6 relative for float data and to 1e-12 for double, the mean to as many
/// standard deviations or to its own last bit. Bits do not depend on the number of threads.
///
/// Cost: one read of the data. Allocates the result only. Thread safe.
/// @throws std::invalid_argument as the makers of views do; an empty minibatch gives count 0.
template <class In>
auto moments_of(const In& in, const Execution& execution = {}) {
  static_assert(detail::is_argument<In>,
                "batchnorm: moments_of takes a BatchView or an Eigen matrix, array, map, ref, "
                "block or expression");
  using T = std::remove_cv_t<typename In::Scalar>;
  const auto held = detail::as_input<T>(in);
  return detail::moments_of_view<Eigen::Dynamic, T>(held.view(), execution);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MOMENTS_HPP
