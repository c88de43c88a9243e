// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MOMENT_SUMS_HPP
#define BATCHNORM_MATH_MOMENT_SUMS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/pivot.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/version.hpp"

// How moments are summed; what they are stands in moments.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The Reduction that computes moments, from sums about a pivot p, a rough mean that is one
/// for all values of a channel (Chan, Golub and LeVeque 1983, eq. 1.7):
///
///     mean = p + S1 / n                 S1 = sum(x - p)
///     sum_of_squares = S2 - S1^2 / n    S2 = sum((x - p)^2)
///
/// The difference loses what S2 is larger than the result. With |mean - p| up to a
/// deviation that is half of it; when a pivot turns out to be worse, the channel is summed again
/// about its mean. Squares that overflow a float lane, or whose last digits it cannot hold, are
/// summed in double.
struct MomentSums {
  static constexpr int inputs = 1;
  static constexpr int required_inputs = 1;
  static constexpr int sums = 2;
  static constexpr int coefficients = 1;
  static constexpr int required_coefficients = 1;
  static constexpr bool plain_with_epilogue = true;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k, const FormulaOptions<V>&) {
    const V deviation = x[0] - k[0];
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
};

/// What turns the sums of channels into moments.
template <class A>
struct MomentAlgebra {
  A count;
  bool narrow_lanes;  ///< sums were made in lanes of float

  /// The share of S2 that may be lost: half in float lanes, where the pivot is off by a deviation;
  /// lanes of double lose nothing that results for float data would miss.
  A largest_loss(bool in_float) const { return in_float || !narrow_lanes ? A(0.5) : A(0.999999); }
  /// (x - p)^2 of an average value in a float lane: smaller ones would lie among the denormals.
  static A least_square() { return A(1e-30); }

  /// S1 / n and S1^2 / n.
  template <class V>
  [[gnu::always_inline]] void about_pivot(V& offset, V& lost, const V& sum) const {
    offset = sum / count;
    lost = sum * offset;
  }
};

/// Finishes the channels of a group for which the first attempt was good enough; stops at others.
template <class A, class C>
struct FinishMoments {
  const MomentAlgebra<A>& algebra;
  const C* pivots;
  A* mean;     ///< S1 before
  A* squares;  ///< S2 before
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    using V = simd::Vector<A, Lanes>;
    V sum, square_sum, result, offset, lost;
    load_channels<A, Lanes>(sum, mean, group);
    load_channels<A, Lanes>(square_sum, squares, group);
    load_channels<A, Lanes>(result, pivots, group);
    algebra.about_pivot(offset, lost, sum);
    AllLanes<A, Lanes> good;
    good.at_most(lost, V(square_sum * algebra.largest_loss(true)));
    good.finite(square_sum);
    if (algebra.narrow_lanes) {
      V least;
      simd::broadcast<A, Lanes>(least, A(algebra.count * algebra.least_square()));
      good.at_most(least, square_sum);
    }
    if (!good.passed()) {
      reached = group.first;
      return false;
    }
    result += offset;
    simd::store<A, Lanes>(mean + group.first, result);
    simd::store<A, Lanes>(squares + group.first, V(square_sum - lost));
    return true;
  }
};

/// Reduces channels to their moments; see MomentSums.
template <class T>
class MomentsReduction final : public Reduction<T>, public CoefficientSource<parameter_t<T>> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  static constexpr bool narrow_lanes = !std::is_same<A, C>::value;
  static constexpr int max_tries = 3;

 public:
  /// @param pivots  room for one number per channel
  /// @param weight  the number of the values, or the sum of their weights
  MomentsReduction(const A& weight, A* mean, A* squares, C* pivots)
      : algebra_{weight, narrow_lanes}, mean_(mean), squares_(squares), pivots_(pivots) {
    tables_[0] = pivots;
  }

  static const KernelTable<T>& kernels() { return reduce_kernels<MomentSums, T>; }

  void write(Index first, Index last, C* const* to) const override {
    std::copy(pivots_ + first, pivots_ + last, to[0]);
  }
  const C* const* tables() const override { return tables_; }

  A* result(std::size_t j) override { return j == 0 ? mean_ : squares_; }

  void prepare(const Plan& plan, const Operands<T>& data, InstructionSet set, Index first,
               Index last) override {
    PivotSampler<T>(kernels(), plan, data).sample(set, first, last, pivots_);
  }

  Index finish_many(Index first, Index last) override {
    Index reached = last;
    for_channels<A>(first, last, FinishMoments<A, C>{algebra_, pivots_, mean_, squares_, reached});
    return reached;
  }

  Outcome finish(Index channel, int tried, bool in_accumulator) override {
    using std::abs;
    A& sum = mean_[channel];
    A& squares = squares_[channel];
    A offset, lost;
    algebra_.about_pivot(offset, lost, sum);
    const bool in_float = narrow_lanes && !in_accumulator;
    if (in_float &&
        (!is_finite(sum) || !is_finite(squares) || is_too_small(channel, sum, squares))) {
      return Outcome::retry_in_accumulator;
    }
    C better = convert<C>(A(convert<A>(pivots_[channel]) + offset));
    if (is_finite(better)) round_pivot(better, A(abs(A(squares - lost)) / algebra_.count));
    if (tried < max_tries && is_finite(lost) && lost > algebra_.largest_loss(in_float) * squares &&
        is_finite(better)) {
      pivots_[channel] = better;
      return in_accumulator && narrow_lanes ? Outcome::retry_in_accumulator : Outcome::retry;
    }
    sum = convert<A>(pivots_[channel]) + offset;
    // Negative only by rounding. Its size is as good an answer as zero, and keeps a NaN to be seen,
    // which a comparison may lose under -ffast-math.
    squares = abs(A(squares - lost));
    return Outcome::done;
  }

 private:
  /// Whether squares may have underflowed. Not where all values are the pivot: differences to one
  /// that is not tiny are too large for that.
  bool is_too_small(Index channel, const A& sum, const A& squares) const {
    if (!(squares < algebra_.count * algebra_.least_square())) return false;
    using std::abs;
    const bool constant = !(squares > A(0)) && !(sum > A(0)) && !(sum < A(0)) &&
                          abs(convert<A>(pivots_[channel])) > A(1e-12);
    return !constant;
  }

  MomentAlgebra<A> algebra_;
  A* mean_;
  A* squares_;
  C* pivots_;
  const C* tables_[1];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MOMENT_SUMS_HPP
