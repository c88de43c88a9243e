// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MOMENTS_HPP
#define BATCHNORM_MATH_MOMENTS_HPP

#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/merge_moments.hpp"
#include "batchnorm/math/moment_sums.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

// Longer than most for what is promised of one type; how it is summed stands in moment_sums.hpp,
// how it is merged in merge_moments.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

namespace detail {
[[noreturn]] inline void fail_divisor(const char* function, double divisor) {
  fail_domain(function,
              "what the sum of squares is divided by: the sum W of the weights less 1, or less "
              "sum(w^2) / W where they are Weights::reliability",
              "a number larger than 0", text(divisor));
}
}  // namespace detail

/// Count, mean and sum of squared deviations of every channel: all that a minibatch leaves behind.
/// Moments of disjoint sets of values merge into those of their union, in any order and any tree,
/// so the same type serves chunks, minibatches, threads and whole training sets. How they travel:
/// math/moments_bytes.hpp; how several parties share them: math/streaming_moments.hpp.
///
///     mean = sum(w x) / W        sum_of_squares = sum(w (x - mean)^2)        W = sum(w)
///
/// Where nothing was said about weights every w is 1, and W is the count n. Moments that were moved
/// from may be assigned to and destroyed, as Eigen's vectors. Thread safety: a plain value. Source:
/// Chan, Golub and LeVeque 1979, eq. 2.1, for what merges.
///
/// @tparam T         the type they are kept in, accumulator_t of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
struct Moments {
  using Scalar = T;                           ///< of the sums
  using Vector = ChannelVector<T, Channels>;  ///< one number per channel

  Index count = 0;        ///< n: values per channel, the same for all channels
  Vector mean;            ///< one per channel
  Vector sum_of_squares;  ///< about the mean, one per channel; never negative

  /// The moments of nothing; merging them with others gives exactly the others.
  Moments() : Moments(Channels == Eigen::Dynamic ? 0 : Channels) {}
  /// The same for so many channels.
  /// @throws std::invalid_argument for fewer than zero, or another number than the type fixes
  explicit Moments(Index channels)
      : mean(
            detail::filled<0, Vector>(detail::checked_sum_channels<Channels>("Moments", channels))),
        sum_of_squares(detail::filled<0, Vector>(mean.size())) {}

  /// Number of channels.
  Index channels() const { return mean.size(); }

  /// W, the sum of the weights: n where every value counts once.
  double weight() const { return is_weighted() ? weight_ : static_cast<double>(count); }
  /// The sum of the squares of all weights: n where every value counts once.
  double squared_weight() const {
    return is_weighted() ? squared_weight_ : static_cast<double>(count);
  }

  /// What the weights say; Weights::frequency where every value counts once.
  Weights weights() const { return kind_; }

  /// Says what the values weigh that were counted: weight is sum(w), squared_weight is sum(w^2),
  /// and the kind decides the unbiased variance. n for both is the same as never to have said
  /// anything, to the bit.
  /// @throws std::invalid_argument unless `count` weights can have these sums
  void set_weight(double weight, double squared_weight, Weights kind = Weights::frequency);

  /// The moments of both sets of values together, these and the other (Chan, Golub and LeVeque
  /// 1979, eq. 2.1):
  ///
  ///     d = mean_b - mean_a      mean = mean_a + d W_b / W
  ///     sum_of_squares = sum_of_squares_a + sum_of_squares_b + d^2 W_a W_b / W
  ///
  /// Commutative to the bit: a.merge(b) and b.merge(a) are the same numbers, because the larger set
  /// is taken first. The mean is within half a unit in its last place of that of the given numbers,
  /// the variance within 4. Not associative to the bit: parties that want the same bits merge in
  /// the same tree. Shapes: as many channels in both. Cost: a few operations per channel; allocates
  /// nothing but where these are moments of no channels. NaN and infinity pass into the result.
  /// @throws std::invalid_argument when the numbers of channels differ (moments of nothing that
  ///         were made without a number of channels merge with any), or the kinds of weights; when
  ///         one of both has a negative count or fewer sums of squares than means, or there are too
  ///         many values to be counted
  /// @throws std::domain_error for a negative sum of squares. Nothing is changed then.
  void merge(const Moments& other);

  /// sum_of_squares / W, the biased estimate that normalises a minibatch.
  /// @throws std::domain_error when there are no values.
  Vector population_variance() const {
    check_count("Moments::population_variance", 1);
    return sum_of_squares / divisor(0);
  }

  /// The unbiased estimate, sum_of_squares / (n - 1). With weights it depends on what they say
  /// (Weights): sum_of_squares / (W - 1) of frequencies, sum_of_squares / (W - sum(w^2) / W) of
  /// reliabilities, and for weights of importance the biased estimate, as there is no other.
  /// @throws std::domain_error when there are fewer than two values, or it is divided by what is
  ///         not positive.
  Vector sample_variance() const {
    constexpr const char* function = "Moments::sample_variance";
    check_count(function, 2);
    if (!has_sample_variance()) detail::fail_divisor(function, sample_divisor());
    return sum_of_squares / divisor(1);
  }
  /// Whether there is one.
  bool has_sample_variance() const { return count > 1 && divisor(1) > T(0); }

  /// The number that a sum of squares is divided by: W for lost = 0, the divisor of sample_variance
  /// for 1. Errors: none.
  T divisor(Index lost) const {
    if (!is_weighted()) return detail::from_index<T>(count - lost);
    return T(lost == 0 ? weight_ : sample_divisor());
  }
  /// That of sample_variance as a number that can be printed.
  double sample_divisor() const {
    if (!is_weighted()) return static_cast<double>(count) - 1.0;
    if (kind_ == Weights::importance) return weight_;
    return weight_ - (kind_ == Weights::frequency ? 1.0 : squared_weight_ / weight_);
  }

 private:
  bool is_weighted() const { return weight_ > 0.0; }

  void check_count(const char* function, Index least) const {
    if (count < least) {
      detail::fail_domain(function, "number of values per channel",
                          detail::text("at least ", least), detail::text(count));
    }
  }

  double weight_ = 0.0;  ///< W; 0 where nobody has said anything about weights
  double squared_weight_ = 0.0;
  Weights kind_ = Weights::frequency;
};

namespace detail {

/// Refuses sums that no `count` positive weights have: by Cauchy and Schwarz, and because none is
/// negative, both with room for rounding.
inline void check_weight(const char* function, Index count, double weight, double squared_weight) {
  const double room = 1.0 + 1e-9;
  const double square = weight * weight;
  if (is_finite(square) && is_finite(squared_weight) && weight >= 0.0 && squared_weight >= 0.0 &&
      (count == 0) == !(weight > 0.0) && squared_weight <= square * room &&
      square <= static_cast<double>(count) * squared_weight * room) {
    return;
  }
  fail_argument(function, "sums of weights and of their squares",
                text("those of ", count, " positive weights"),
                text(weight, " and ", squared_weight));
}

/// Refuses moments whose parts do not belong together.
template <class T, int Channels>
void check_moments_form(const char* function, const Moments<T, Channels>& moments) {
  if (moments.sum_of_squares.size() != moments.channels()) {
    fail_argument(function, "means and sums of squares", "as many of one as of the other",
                  text(moments.channels(), " and ", moments.sum_of_squares.size()));
  }
  if (moments.count < 0) {
    fail_argument(function, "count of the moments", "zero or more", text(moments.count));
  }
}

/// Refuses moments whose count, sizes and signs nothing can have; NaN and infinity pass.
template <class T, int Channels>
void check_possible_moments(const char* function, const Moments<T, Channels>& moments) {
  check_moments_form(function, moments);
  for (Index channel = 0; channel < moments.channels(); ++channel) {
    if (is_negative(moments.sum_of_squares[channel])) {
      fail_domain(function, text("sum of squares of channel ", channel), "zero or larger",
                  "a negative number");
    }
  }
}

/// The operands of a loop that reads one view.
template <class T>
Operands<T> operands_of(const BatchView<const T>& view) {
  Operands<T> data;
  data.from[0] = view.data();
  data.inputs = 1;
  return data;
}

/// Count and weight of what is selected of a view, null for everything, and zeros for its sums.
template <int Channels, class T>
Moments<accumulator_t<T>, Channels> moments_without_sums(const BatchView<const T>& view,
                                                         const SelectedValues<T>* selected) {
  Moments<accumulator_t<T>, Channels> moments(view.channels());
  moments.count = selected != nullptr ? selected->count() : view.values_per_channel();
  if (selected != nullptr && moments.count > 0) {
    const Selection& what = selected->what();
    moments.set_weight(what.weight, what.squared_weight, what.kind);
  }
  return moments;
}

/// The moments of a view whose number of channels has been checked.
///
/// @param selected  what counts of it; null for everything
template <int Channels, class T>
Moments<accumulator_t<T>, Channels> moments_of_view(const BatchView<const T>& view,
                                                    const SelectedValues<T>* selected,
                                                    const Execution& execution) {
  auto moments = moments_without_sums<Channels, T>(view, selected);
  if (moments.count == 0) return moments;
  ChannelVector<parameter_t<T>, Channels> pivots(view.channels());
  MomentsReduction<T> reduction(moments.divisor(0), moments.mean.data(),
                                moments.sum_of_squares.data(), pivots.data());
  const FormulaCall<T> call(reduction.kernels(), reduction, {parameter_t<T>(1), parameter_t<T>(1)});
  const Operands<T> data = operands_of<T>(view);
  const ViewShape shape(view);
  if (selected != nullptr) {
    selected->reduce(execution, reduction, call, data, &shape, MomentSums::sums, ListOf::weighted,
                     {0, view.channels()});
    return moments;
  }
  const Plan plan = plan_of(data, nullptr, &shape);
  Reducer<T>(reduction, call, data, plan, MomentSums::sums)
      .run(execution.for_elements(plan.traversal().elements()), 0, view.channels());
  return moments;
}

}  // namespace detail

template <class T, int Channels>
void Moments<T, Channels>::merge(const Moments& other) {
  detail::check_possible_moments("Moments::merge", *this);
  detail::check_possible_moments("Moments::merge", other);
  detail::check_room("Moments::merge", "values", count, other.count);
  if (other.count == 0 && (other.channels() == 0 || other.channels() == channels())) return;
  if (channels() != other.channels() && !(count == 0 && channels() == 0)) {
    detail::fail_argument("Moments::merge", "number of channels must be the same",
                          detail::text(channels()), detail::text(other.channels()));
  }
  if (count == 0) {
    *this = other;
    return;
  }
  const bool weighted = is_weighted() || other.is_weighted();
  if (is_weighted() && other.is_weighted() && kind_ != other.kind_) {
    detail::fail_argument("Moments::merge", "what the weights of both say", "the same of both",
                          "two kinds of Weights");
  }
  const T total =
      weighted ? T(weight() + other.weight()) : detail::from_index<T>(count + other.count);
  const detail::SymmetricMerge<T> join(divisor(0), other.divisor(0), total);
  for (Index channel = 0; channel < channels(); ++channel) {
    join(mean[channel], sum_of_squares[channel], other.mean[channel],
         other.sum_of_squares[channel]);
  }
  if (weighted) {
    if (!is_weighted()) kind_ = other.kind_;
    squared_weight_ = squared_weight() + other.squared_weight();
    weight_ = weight() + other.weight();
  }
  count += other.count;
}

template <class T, int Channels>
void Moments<T, Channels>::set_weight(double weight, double squared_weight, Weights kind) {
  detail::check_weight("Moments::set_weight", count, weight, squared_weight);
  const double n = static_cast<double>(count);
  const bool all_one =
      !(weight < n) && !(weight > n) && !(squared_weight < n) && !(squared_weight > n);
  weight_ = all_one ? 0.0 : weight;
  squared_weight_ = all_one ? 0.0 : squared_weight;
  kind_ = all_one ? Weights::frequency : kind;
}

/// The moments of every channel of a minibatch: a view, or an Eigen matrix of features x examples;
/// or of those of its values that count, masked(x, m) and weighted(x, w, kind) of math/masked.hpp.
///
/// One pass over the data, about a pivot, a rough mean of a few values: sums of up to sixteen
/// values in the type of the data (float for half and bfloat16), all others in double, joined in a
/// fixed order. Channels whose pivot was bad get a second pass about their mean, so
/// nothing like E[x^2] - E[x]^2 is left of the result. For means of up to 1e6 standard deviations
/// and up to 1e8 values the variance is right to 1e-6 relative for float data and to 1e-12 for
/// double, the mean to as many standard deviations or to its own last bit. Bits do not depend on
/// the number of threads.
///
/// Shapes: `in` is samples x channels x positions, or features x examples; one result per channel.
/// Cost: one read of the data, by the execution. Allocates the result and one more number per
/// channel. Source: Chan, Golub and LeVeque 1983, for sums about a pivot.
/// @throws std::invalid_argument as the makers of views do; an empty minibatch gives count 0.
template <class In>
auto moments_of(const In& in, const Execution& execution = {}) {
  using Plain = detail::WithoutMask<In>;
  static_assert(detail::is_argument<Plain>,
                "batchnorm: moments_of takes a BatchView or an Eigen matrix, array, map, ref, "
                "block or expression, or masked or weighted of one");
  using T = std::remove_cv_t<typename Plain::Scalar>;
  if constexpr (detail::is_masked_input<In> && detail::is_real_scalar<T>) {
    const Input<T> input(in);
    const auto selected = detail::selected_of("moments_of", input);
    return detail::moments_of_view<Eigen::Dynamic, T>(input.view(), selected.get(), execution);
  } else if constexpr (detail::is_real_scalar<T>) {
    const detail::InputArray<T> held(in);
    return detail::moments_of_view<Eigen::Dynamic, T>(held.view(), nullptr, execution);
  } else {
    return Moments<accumulator_t<T>>();  // ends in the message about scalars
  }
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MOMENTS_HPP
