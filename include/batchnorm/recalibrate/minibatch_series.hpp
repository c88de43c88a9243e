// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_MINIBATCH_SERIES_HPP
#define BATCHNORM_RECALIBRATE_MINIBATCH_SERIES_HPP

#include <Eigen/Core>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a series of minibatches leaves behind of one layer: the moments of all their values, and
/// how their means and variances spread. Of the first come the statistics of a whole training set
/// (recalibrate/reestimate.hpp), of the spread how far they can be trusted
/// (recalibrate/diagnose.hpp).
///
///     MinibatchSeries<double> seen(layer.channels());
///     seen.add(layer.normalize(x, y), examples);   // or train, or moments_of
///
/// The series of shards merge into that of all, in any order and tree; moments of the three kinds
/// travel as all moments do (math/moments_bytes.hpp). Shapes: one number of channels. Cost: a few
/// operations per channel in each call. Thread safety: a plain value.
///
/// @tparam T  the type that moments are kept in, double for float data
template <class T>
struct MinibatchSeries {
  Moments<T> pooled;     ///< of all values: the spread between minibatches is in it
  Moments<T> means;      ///< of the minibatches' means, each counted once
  Moments<T> variances;  ///< of the sample variances of those that have one, each counted once
  Index examples = 0;    ///< number of examples in all of them

  /// Of nothing, and of no channels yet.
  MinibatchSeries() = default;
  /// Of nothing, with so many channels.
  /// @throws std::invalid_argument for fewer than zero
  explicit MinibatchSeries(Index channels)
      : pooled(detail::checked_sum_channels<Eigen::Dynamic>("MinibatchSeries", channels)),
        means(pooled),
        variances(pooled) {}

  /// Number of channels.
  Index channels() const { return pooled.channels(); }
  /// Number of minibatches.
  Index minibatches() const { return means.count; }

  /// One batch more: the moments of a minibatch. An empty one counts as none.
  /// @param examples_of_batch  how many examples it has; an image is one, of many values
  /// @throws std::invalid_argument for moments of another number of channels, or a negative number
  ///         of examples, or a series whose parts do not belong together
  /// @throws std::domain_error for a negative sum of squares. Nothing is changed then.
  template <int Channels>
  void add(const Moments<T, Channels>& batch, Index examples_of_batch) {
    if (examples_of_batch < 0) {
      detail::fail_argument("MinibatchSeries::add", "number of examples", "zero or more",
                            detail::text(examples_of_batch));
    }
    check("MinibatchSeries::add");
    detail::check_room("MinibatchSeries::add", "examples", examples, examples_of_batch);
    detail::check_room("MinibatchSeries::add", "minibatches", means.count, 1);
    if (batch.count == 0) return;
    Moments<T> values(batch.channels());
    values.count = batch.count;
    values.mean = batch.mean;
    values.sum_of_squares = batch.sum_of_squares;
    values.set_weight(batch.weight(), batch.squared_weight(), batch.weights());
    pooled.merge(values);
    Moments<T> one(batch.channels());
    one.count = 1;
    one.mean = batch.mean;
    means.merge(one);
    examples += examples_of_batch;
    if (!batch.has_sample_variance()) return;
    one.mean = batch.sample_variance();
    variances.merge(one);
  }

  /// Both series, this and the other, as one.
  /// @throws std::invalid_argument when the numbers of channels differ, of the series or of the
  ///         parts of one, and what else Moments::merge refuses. Nothing is changed then.
  void merge(const MinibatchSeries& other) {
    constexpr const char* function = "MinibatchSeries::merge";
    check(function);
    other.check(function);
    detail::check_room(function, "examples", examples, other.examples);
    MinibatchSeries both = *this;
    both.pooled.merge(other.pooled);
    both.means.merge(other.means);
    both.variances.merge(other.variances);
    both.examples += other.examples;
    *this = std::move(both);
  }

  /// Refuses a series whose parts do not belong together, for a function that was given it.
  /// @throws std::invalid_argument, and std::domain_error for a negative sum of squares
  void check(const char* function) const {
    for (const Moments<T>* const part : {&pooled, &means, &variances}) {
      detail::check_possible_moments(function, *part);
    }
    if (means.channels() != channels() || variances.channels() != channels()) {
      detail::fail_argument(
          function, "numbers of channels of what is pooled, of means and of variances",
          "one number",
          detail::text(channels(), ", ", means.channels(), " and ", variances.channels()));
    }
    if (examples < 0) {
      detail::fail_argument(function, "number of examples", "zero or more", detail::text(examples));
    }
  }

  /// The same, kept in another type.
  template <class U>
  MinibatchSeries<U> cast() const {
    MinibatchSeries<U> other(channels());
    convert(pooled, other.pooled);
    convert(means, other.means);
    convert(variances, other.variances);
    other.examples = examples;
    return other;
  }

 private:
  template <class U>
  static void convert(const Moments<T>& from, Moments<U>& to) {
    to.count = from.count;
    to.mean = from.mean.template cast<U>();
    to.sum_of_squares = from.sum_of_squares.template cast<U>();
    to.set_weight(from.weight(), from.squared_weight(), from.weights());
  }
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_MINIBATCH_SERIES_HPP
