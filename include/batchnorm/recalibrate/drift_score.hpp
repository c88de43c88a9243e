// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_DRIFT_SCORE_HPP
#define BATCHNORM_RECALIBRATE_DRIFT_SCORE_HPP

#include <cmath>
#include <limits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Two scores of how far n values of a channel are from a source N(mu, s^2), from their moments
// alone: a distance, and evidence that may be looked at as often as one likes.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a channel shows of n values, in standard deviations of the source.
struct DriftSample {
  double values = 0.0;          ///< n, of independent values
  double shift = 0.0;           ///< (their mean - mu) / s
  double variance_ratio = 0.0;  ///< q = their population variance / s^2
};

/// The Kullback-Leibler divergence, in nats, of the normal distribution with the moments of the
/// values, from that of the source, KL(target || source):
///
///     KL = (shift^2 + q - 1 - ln q) / 2
///
/// Infinite where the values do not vary at all, as a single one. Without drift n KL is distributed
/// about as Exp(1), for few values a little wider: 95 % of samples are below 5.9, 4.0, 3.4, 3.2 and
/// 3.0 for n = 2, 4, 8, 16 and 64 (the test drift_score measures it). That is said of one look: who
/// looks again and again will see n KL above it sooner or later.
/// `seen` is what the channel shows. Errors: none; without variance it is infinite. Cost: constant.
/// Source: Kullback and Leibler 1951.
inline double kl_divergence(const DriftSample& seen) {
  const double q = seen.variance_ratio;
  if (!(q > 0.0)) return std::numeric_limits<double>::infinity();
  return 0.5 * (seen.shift * seen.shift + (q - 1.0 - std::log(q)));
}

namespace detail {

/// ln gamma(x) for x > 0: Stirling's series, from where it is exact. std::lgamma writes to a global
/// variable, so that threads would be in each other's way.
inline double log_gamma(double x) {
  double product = 1.0;
  while (x < 16.0) {
    product *= x;
    x += 1.0;
  }
  const double r = 1.0 / (x * x);
  const double series =
      (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0)))) / x;
  constexpr double half_log_two_pi = 0.91893853320467274178;
  return (x - 0.5) * std::log(x) - x + half_log_two_pi + series - std::log(product);
}

/// ln of the density of the values, up to (2 pi)^(-n / 2), averaged over normal distributions whose
/// precision is gamma distributed (a, b = a) and whose mean is normal about 0 with a variance of
/// 1 / (k precision): a normal-inverse-gamma prior, worth k values and centred on the source.
inline double log_average_density(const DriftSample& seen, double k, double a) {
  const double n = seen.values;
  const double squares = n * seen.variance_ratio + k * n / (k + n) * seen.shift * seen.shift;
  const double log_b = std::log(a), growth = std::log1p(0.5 * squares / a);
  return log_gamma(a + 0.5 * n) - log_gamma(a) - (a + 0.5 * n) * growth - 0.5 * n * log_b -
         0.5 * std::log1p(n / k);
}

}  // namespace detail

/// ln of an e-value against "these are values of the source": how many times likelier they are
/// under normal distributions about the source, averaged over a prior, than under the source
/// itself.
///
///     log E = ln gamma(a_n) - ln gamma(a) + a ln b - a_n ln b_n + ln(k / k_n) / 2 + S / 2
///
/// with k_n = k + n, a_n = a + n / 2, b = a, b_n = b + (n q + k n shift^2 / k_n) / 2 and
/// S = n q + n shift^2. For independent normal values without drift the expectation of E is 1
/// however many there are, and the probability that it ever reaches 1 / alpha at most alpha (Ville
/// 1939): alarms at that are valid however often one looks, and whenever one stops.
///
/// A source that itself comes from N values is a little off, and a long stream would find that.
/// With `source_values` its density is averaged over what N values leave open (k = N,
/// a = (N - 1) / 2, s^2 the sample variance), which makes E a ratio of likelihoods again.
///
/// @param seen           what the channel shows
/// @param source_values  N, 2 or more; infinity for a source that is known
/// @param k, a           the prior: as how many values it counts for the mean, and twice which for
///                       the variance; larger than 0
/// Errors: none; 0 for no values. Cost: constant. Source: the conjugate mixture is in Robbins 1970;
/// e-values in Ramdas, Gruenwald, Vovk and Shafer 2023 (arXiv:2210.01948).
inline double log_e_value(const DriftSample& seen,
                          double source_values = std::numeric_limits<double>::infinity(),
                          double k = 0.1, double a = 2.0) {
  const double n = seen.values;
  if (!(n > 0.0)) return 0.0;
  const double drifted = detail::log_average_density(seen, k, a);
  // Beyond that the difference is less than what rounding leaves of ln gamma.
  if (!detail::is_finite(source_values) || source_values > 1e10) {
    return drifted + 0.5 * n * (seen.variance_ratio + seen.shift * seen.shift);
  }
  return drifted - detail::log_average_density(seen, source_values, 0.5 * (source_values - 1.0));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_DRIFT_SCORE_HPP
