// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MOMENTS_HPP
#define BATCHNORM_MATH_MOMENTS_HPP

#include <cmath>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/loops/simd.hpp"
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

/// What joining b to a needs of their counts, computed once for all channels. `share` is
/// n_b / (n_a + n_b), which is exactly 1 or 0 when one of them is empty.
template <class A>
struct MergeWeights {
  A share;    ///< n_b / n
  A product;  ///< n_a n_b / n

  MergeWeights(Index count_a, Index count_b)
      : share(from_index<A>(count_b) / from_index<A>(count_a + count_b)),
        product(from_index<A>(count_a) * share) {}
};

/// Merges (mean, sum of squares) of one channel, or vectors of some, into others; the one place
/// where the formula stands.
template <class V, class A>
[[gnu::always_inline]] inline void merge_moments(V& mean, V& squares, const V& other_mean,
                                                 const V& other_squares,
                                                 const MergeWeights<A>& weights) {
  const V difference = other_mean - mean;
  mean += difference * weights.share;
  squares += other_squares + difference * difference * weights.product;
}

/// The Reduction that computes moments, from sums about a pivot p, a guess of the mean that is one
/// for all values of a channel (Chan, Golub and LeVeque 1983, eq. 1.7):
///
///     mean = p + S1 / n                 S1 = sum(x - p)
///     sum_of_squares = S2 - S1^2 / n    S2 = sum((x - p)^2)
///
/// The difference loses what S2 is larger than the result. With |mean - p| up to two thirds of a
/// deviation that is 30 %; when a guess turns out to be worse, the channel is summed again about
/// its mean. Squares that overflow a float lane, or whose last digits it cannot hold, are summed in
/// double.
struct MomentSums {
  static constexpr int sums = 2;
  static constexpr int coefficients = 1;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    const V deviation = x[0] - k[0];
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
};

template <class T, int Channels>
class MomentsReduction {
 public:
  using Formula = MomentSums;
  using Accumulator = accumulator_t<T>;
  using Lane = parameter_t<T>;

  explicit MomentsReduction(Moments<Accumulator, Channels>& moments)
      : moments_(moments),
        count_(from_index<Accumulator>(moments.count)),
        pivots_(moments.channels()) {}

  Lane* pivots() { return pivots_.data(); }

  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = convert<C>(pivots_[channel]);
  }
  void tables(const Lane** tables) const { tables[0] = pivots_.data(); }

  Accumulator* result(int k) const {
    return (k == 0 ? moments_.mean : moments_.sum_of_squares).data();
  }

  Index settle_good(Index first, Index last) {
    Index reached = last;
    loops::for_channels<Accumulator>(first, last, GoodChannels{*this, reached});
    return reached;
  }

  loops::Verdict settle(Index channel, int tried, bool wide) {
    using std::abs;
    Accumulator& sum = moments_.mean[channel];
    Accumulator& squares = moments_.sum_of_squares[channel];
    Accumulator offset, lost;
    about_pivot(offset, lost, sum);
    const bool narrow = has_narrow_lanes && !wide;
    if (narrow && (!is_finite(sum) || !is_finite(squares) || squares < count_ * least_square())) {
      return loops::Verdict::again_wide;
    }
    const Lane better = convert<Lane>(Accumulator(pivots_[channel] + offset));
    if (tried < most_tries && is_finite(lost) && lost > largest_loss(narrow) * squares &&
        is_finite(better)) {
      pivots_[channel] = better;
      return wide && has_narrow_lanes ? loops::Verdict::again_wide : loops::Verdict::again;
    }
    sum = convert<Accumulator>(pivots_[channel]) + offset;
    // Negative only by rounding. Its size is as good an answer as zero, and keeps a NaN to be seen,
    // which a comparison may lose under -ffast-math.
    squares = abs(Accumulator(squares - lost));
    return loops::Verdict::settled;
  }

 private:
  /// S1 / n and S1^2 / n, of a channel or a vector of them.
  template <class V>
  [[gnu::always_inline]] void about_pivot(V& offset, V& lost, const V& sum) const {
    offset = sum / count_;
    lost = sum * offset;
  }

  static constexpr int most_tries = 3;
  static constexpr bool has_narrow_lanes = !std::is_same<Accumulator, Lane>::value;
  /// (x - p)^2 of an average value in a float lane: smaller ones would lie among the numbers that
  /// float holds with fewer digits.
  static Accumulator least_square() { return Accumulator(1e-30); }
  /// Lanes of double lose nothing that results for float data would miss.
  static Accumulator largest_loss(bool narrow) {
    return narrow || !has_narrow_lanes ? Accumulator(0.3) : Accumulator(0.999999);
  }

  /// Settles channels for which the first attempt was good enough, as settle() does.
  struct GoodChannels {
    MomentsReduction& reduction;
    Index& reached;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const loops::ChannelGroup& group) const {
      using A = Accumulator;
      using V = simd::Vector<A, Lanes>;
      A* const sums = reduction.result(0) + group.first;
      A* const all_squares = reduction.result(1) + group.first;
      V sum, squares, mean;
      loops::load_channels<A, Lanes>(sum, sums, {0, group.count});
      loops::load_channels<A, Lanes>(squares, all_squares, {0, group.count});
      loops::load_channels<A, Lanes>(mean, reduction.pivots_.data(), group);
      V offset, lost;
      reduction.about_pivot(offset, lost, sum);
      loops::AllLanes<A, Lanes> good;
      good.at_most(lost, squares * largest_loss(true));
      good.finite(squares);
      if constexpr (has_narrow_lanes) {
        V least;
        simd::broadcast<A, Lanes>(least, reduction.count_ * least_square());
        good.at_most(least, squares);
      }
      if (!good.passed()) {
        reached = group.first;
        return false;
      }
      mean += offset;
      loops::store_channels<A, Lanes>(sums, group, mean);
      loops::store_channels<A, Lanes>(all_squares, group, squares - lost);
      return true;
    }
  };

  Moments<Accumulator, Channels>& moments_;
  Accumulator count_;
  ChannelVector<Lane, Channels> pivots_;
};

/// The moments of a view whose number of channels has been checked.
template <int Channels, class T>
Moments<accumulator_t<T>, Channels> moments_of_view(const BatchView<const T>& view,
                                                    const Execution& execution) {
  Moments<accumulator_t<T>, Channels> moments(view.channels());
  if (view.empty()) return moments;
  moments.count = view.values_per_channel();
  MomentsReduction<T, Channels> reduction(moments);
  loops::reduce(execution, reduction, view);
  return moments;
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
  const detail::MergeWeights<T> weights(count, other.count);
  for (Index channel = 0; channel < channels(); ++channel) {
    detail::merge_moments(mean[channel], sum_of_squares[channel], other.mean[channel],
                          other.sum_of_squares[channel], weights);
  }
  count += other.count;
}

/// The moments of every channel of a minibatch: a view, or an Eigen matrix of features x examples.
///
/// One pass over the data, about a guess of the mean from a few values: sums of up to eight
/// neighbours in the type of the data, all others in double (for float, half and bfloat16), joined
/// in a fixed order. Channels for which the guess was bad get a second pass about their mean, so
/// nothing like E[x^2] - E[x]^2 is left of the result. For means of up to 1e6 standard deviations
/// and up to 1e8 values the variance is right to 1e-6 relative for float data and to 1e-12 for
/// double, the mean to as many standard deviations or to its own last bit. Bits do not depend on
/// the number of threads.
///
/// Cost: one read of the data. Allocates the result and one more number per channel. Thread safe.
/// @throws std::invalid_argument as the makers of views do; an empty minibatch gives count 0.
template <class In>
auto moments_of(const In& in, const Execution& execution = {}) {
  static_assert(detail::is_argument<In>,
                "batchnorm: moments_of takes a BatchView or an Eigen matrix, array, map, ref, "
                "block or expression");
  using T = std::remove_cv_t<typename In::Scalar>;
  if constexpr (detail::is_real_scalar<T>) {
    const auto held = detail::as_input<T>(in);
    return detail::moments_of_view<Eigen::Dynamic, T>(held.view(), execution);
  } else {
    return Moments<accumulator_t<T>>();  // ends in the message about scalars
  }
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MOMENTS_HPP
