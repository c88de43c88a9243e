// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_ADAPTATION_HPP
#define BATCHNORM_RECALIBRATE_ADAPTATION_HPP

#include <algorithm>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/recalibrate/effective_values.hpp"
#include "batchnorm/version.hpp"

// How statistics of test data (the target) and of the training (the source) are mixed, and the
// arithmetic of one channel. recalibrate/adapt.hpp does it for a layer.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The rule by which statistics of test data are mixed with those of the source. With the share a
/// of the target, statistics (mu_s, var_s) of the source and (mu_t, var_t) of the target,
///
///     mean     = mu_s + a (mu_t - mu_s)
///     variance = (1 - a) var_s + a var_t + a (1 - a) (mu_t - mu_s)^2
///
/// which are the exact moments of both sets of values together. Rules differ in a, given that the
/// target has n values:
///
///     Adaptation::source()         a = 0: plain inference, to the bit
///     Adaptation::target()         a = 1: AdaBN (Li et al. 2017, arXiv:1603.04779)
///     Adaptation::prior(N)         a = n / (N + n): the source counts as N values (Schneider et
///                                  al. 2020, arXiv:2006.16971); N from 0 (target) to infinity
///     Adaptation::share(a)         alpha-BN (You et al. 2021, arXiv:2110.04065)
///     Adaptation::automatic()      a for every channel from how far it has moved
///
/// prior(N) is safe from one value on. A single value z standard deviations from the source's mean
/// leaves the layer as z sqrt(N / (N + 1)) / sqrt(1 + z^2 / (N + 1)): a soft clip, never as large
/// as sqrt(N), that is z itself for N infinite (with epsilon 0; a larger one only makes it
/// smaller).
///
/// `automatic` weighs the squared shift of a channel, beyond what the mean of n values moves by
/// chance, against the error of the target's mean, which makes the error of the mixed mean least:
///
///     D = max(0, (mu_t - mu_s)^2 - var_s / n)      s_t^2 = var_t + var_s / n
///     a = D / (D + s_t^2 / n)                      that is N = n (1 - a) / a = s_t^2 / D values
///
/// where var_s / n makes up for what the variance of n values lacks, so that s_t^2 is that of the
/// source where n is 1. It looks at means: a channel whose variance alone has changed stays. Of
/// a single value it takes every outlier for a shift: that wants prior(N), or a stream.
///
/// When not to adapt. All three are known to make things worse than plain inference, and none can
/// be told from the moments:
///   - Small batches: target() of few values follows their noise, and of one value it has no
///     variance (refused). Take prior(N), with N of at least the size of the batch, or a stream.
///   - Mixed domains: the moments of day and night together are those of neither. Keep one set of
///     statistics per domain (StatisticBank), and adapt within each.
///   - Label shift: a batch of one class has other means because of what it shows. Normalising that
///     away takes the answer away. Take source(), or a stream that has seen all classes.
/// examples/11_corrupted_digits.cpp measures the first and the last.
///
/// A plain value, made by the named functions. Thread safety: immutable.
class Adaptation {
 public:
  /// How a is found.
  enum class Rule {
    prior,     ///< from how many values the target has
    share,     ///< it is given
    automatic  ///< from how far the channel has moved
  };

  /// Plain inference, to the bit.
  static Adaptation source() {
    return Adaptation(Rule::prior, std::numeric_limits<double>::infinity());
  }
  /// The statistics of the test data alone.
  static Adaptation target() { return Adaptation(Rule::prior, 0.0); }

  /// The source counts as a number of values.
  /// @param values  N: as how many values per channel the source counts; infinity is allowed
  /// @throws std::invalid_argument when it is negative or NaN
  static Adaptation prior(double values) {
    // 1 / NaN is not finite, also where compilers may assume that there is no NaN.
    const bool infinite = !detail::is_finite(values) && detail::is_finite(1.0 / values);
    if (detail::is_negative(values) || !(infinite || detail::is_finite(values))) {
      detail::fail_argument("Adaptation::prior", "the source counts as a number of values",
                            "zero or more, or infinity", detail::text(values));
    }
    return Adaptation(Rule::prior, values);
  }

  /// The target has a given share.
  /// @param of_target  a: 0 is the source, 1 the target; other systems' alpha, prior and momentum
  ///                   mean either, so look which
  /// @throws std::invalid_argument unless 0 <= of_target <= 1
  static Adaptation share(double of_target) {
    if (!detail::is_finite(of_target) || of_target < 0.0 || of_target > 1.0) {
      detail::fail_argument("Adaptation::share", "the share of the target", "a number in [0, 1]",
                            detail::text(of_target));
    }
    return Adaptation(Rule::share, of_target);
  }

  /// Every channel has the share that makes the error of its mean least.
  static Adaptation automatic() { return Adaptation(Rule::automatic, 0.0); }

  /// The same, but as the papers mix: without the term a (1 - a) (mu_t - mu_s)^2 between the means.
  /// The variance is too small then, one value is not clipped: it leaves as z sqrt(N / (N + 1)).
  Adaptation plain_mix() const {
    Adaptation plain = *this;
    plain.is_exact_ = false;
    return plain;
  }

  /// The same for data of which so many values are worth one independent value, which is then what
  /// n and N count: the positions of an image divided by
  /// Diagnosis::effective_values_per_example, or all positions, to count examples as the papers do.
  /// @throws std::invalid_argument unless it is finite and 1 or larger
  Adaptation values_alike(double values) const {
    detail::check_values_alike("Adaptation::values_alike", values);
    Adaptation alike = *this;
    alike.values_alike_ = values;
    return alike;
  }

  Rule rule() const { return rule_; }              ///< which of them it is
  double prior_values() const { return number_; }  ///< N of Rule::prior
  double target_share() const { return number_; }  ///< a of Rule::share
  bool is_exact() const { return is_exact_; }      ///< false for plain_mix
  /// How many values are worth one independent value.
  double values_alike() const { return values_alike_; }

 private:
  Adaptation(Rule rule, double number) : rule_(rule), number_(number) {}

  Rule rule_;
  double number_;
  bool is_exact_ = true;
  double values_alike_ = 1.0;
};

namespace detail {

/// The share of the target in one channel by `automatic`, as described above.
/// @param n  independent values of the target, more than 0
inline double automatic_share(double shift, double source_variance, double target_variance,
                              double n) {
  const double noise = source_variance / n;
  const double moved = (std::max)(0.0, shift * shift - noise);
  const double error = (target_variance + noise) / n;
  return moved > 0.0 ? moved / (moved + error) : 0.0;
}

/// The share in every channel by a rule that does not look at channels.
inline double common_share(const Adaptation& how, double n) {
  if (how.rule() == Adaptation::Rule::share) return how.target_share();
  return is_finite(how.prior_values()) ? n / (how.prior_values() + n) : 0.0;
}

/// Mixes the target into the statistics of one channel, exactly at both ends.
template <class A>
void mix_statistics(A& mean, A& variance, const A& target_mean, const A& target_variance,
                    double share, bool is_exact) {
  if (!(share > 0.0)) return;
  if (!(share < 1.0)) {
    mean = target_mean;
    variance = target_variance;
    return;
  }
  const A of_target(share), of_source(1.0 - share);
  const A shift = target_mean - mean;
  mean += of_target * shift;
  variance += of_target * (target_variance - variance);
  if (is_exact) variance += (of_target * shift) * (of_source * shift);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_ADAPTATION_HPP
