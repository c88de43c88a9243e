// SPDX-License-Identifier: MIT
// How far a result in floating point may be from the oracle's: a few roundings of the terms that
// enter it, so that the bounds follow the conditioning of each channel. u is the distance from 1 to
// the next number of a type; `safety` roundings are allowed of each term.
#ifndef BATCHNORM_TESTS_SUPPORT_BOUNDS_HPP
#define BATCHNORM_TESTS_SUPPORT_BOUNDS_HPP

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "support/reference_batch_norm.hpp"

namespace batchnorm_test {

using reference::Batch;
using reference::PerChannel;
using reference::Real;
using reference::Size;

inline constexpr Real safety = 16;

/// Not epsilon(): that of half is 2^-13 in Eigen 3.4.0, where 2^-10 is right.
template <class T>
Real unit() {
  return std::ldexp(Real(1), 1 - std::numeric_limits<T>::digits);
}

/// Gamma 1, beta 0, and the statistics of x.
inline reference::Layer plain_layer(const Batch& x, Real epsilon) {
  const PerChannel mu = reference::mean(x);
  return {PerChannel(x.channels, 1), PerChannel(x.channels, 0), mu, reference::variance(x, mu),
          epsilon};
}

/// The largest |value| of every channel.
inline PerChannel largest(const Batch& batch) {
  PerChannel most(batch.channels, 0);
  batch.each(
      [&](Size n, Size c, Size p) { most[c] = std::max(most[c], std::fabs(batch.at(n, c, p))); });
  return most;
}

/// Bounds for a layer of scalar T on the input x. Statistics are kept in accumulator_t<T>, maps
/// computed in parameter_t<T>, elements rounded to T.
template <class T>
class Bounds {
 public:
  Bounds(const reference::Layer& layer, const Batch& x) : layer_(layer), x_(x), most_(largest(x)) {}

  /// The promise: 1e-6 of a deviation for float and shorter types, 1e-12 for the others. No mean is
  /// nearer than its own last bit.
  Real mean(Size c) const {
    return promised() * std::sqrt(layer_.sigma2[c]) + statistics_unit() * most_[c];
  }

  /// The same share of the variance, and what the rounding of both means costs.
  Real variance(Size c) const {
    const Real means = statistics_unit() * most_[c];
    return promised() * layer_.sigma2[c] + means * means;
  }

  /// @param residual  what is added there
  Real y(Size n, Size c, Size p, Real residual = 0) const {
    const Real gamma = std::fabs(layer_.gamma[c]);
    const Real added = std::fabs(layer_.beta[c]) + std::fabs(residual);
    const Real terms = gamma * (std::fabs(xhat(n, c, p)) + 1) + added;
    return safety * (unit<P>() * terms + statistics_unit() * gamma * most_[c] / layer_.root(c)) +
           stored(gamma * std::fabs(xhat(n, c, p)) + added);
  }

  /// dL/dresidual is dy, or dy times the slope.
  static Real residual_gradient(Real dy) {
    return 2 * unit<P>() * std::fabs(dy) + stored(std::fabs(dy));
  }

  /// @param steepest  the largest |dy| of the channel
  Real dx(Size n, Size c, Size p, Real steepest) const {
    const Real slope = std::fabs(layer_.gamma[c]) / layer_.root(c) * steepest;
    const Real terms = 2 + std::fabs(xhat(n, c, p));
    return safety * slope * terms * (unit<P>() + statistics_unit() * most_[c] / layer_.root(c)) +
           stored(slope * terms);
  }

  PerChannel dgamma(const Batch& dy) const {
    PerChannel sum(x_.channels, 0);
    dy.each([&](Size n, Size c, Size p) {
      const Real terms =
          std::fabs(xhat(n, c, p)) * unit<P>() + statistics_unit() * most_[c] / layer_.root(c);
      sum[c] += safety * std::fabs(dy.at(n, c, p)) * terms;
    });
    return sum;
  }

  PerChannel dbeta(const Batch& dy) const {
    PerChannel sum(x_.channels, 0);
    dy.each(
        [&](Size n, Size c, Size p) { sum[c] += safety * unit<P>() * std::fabs(dy.at(n, c, p)); });
    return sum;
  }

 private:
  using A = batchnorm::accumulator_t<T>;
  using P = batchnorm::parameter_t<T>;

  /// The last bit of a mean, and the errors of the oracle's own sum.
  Real statistics_unit() const { return unit<A>() + x_.count() * unit<Real>(); }
  static Real promised() { return sizeof(T) < sizeof(double) ? 1e-6L : 1e-12L; }
  /// The rounding of a result to 16 bits.
  static Real stored(Real value) { return sizeof(T) < sizeof(P) ? unit<T>() * value : 0; }
  Real xhat(Size n, Size c, Size p) const {
    return (x_.at(n, c, p) - layer_.mu[c]) / layer_.root(c);
  }

  const reference::Layer& layer_;
  const Batch& x_;
  PerChannel most_;
};

/// Empty when each element is within its bound, else which one is not. `bound` takes (n, c, p).
template <class Bound>
std::string beyond(const Batch& result, const Batch& expected, const Bound& bound) {
  std::string found;
  result.each([&](Size n, Size c, Size p) {
    const Real off = std::fabs(result.at(n, c, p) - expected.at(n, c, p));
    if (!found.empty() || off <= bound(n, c, p)) return;
    found = batchnorm::detail::text("sample ", n, ", channel ", c, ", position ", p, ": ",
                                    result.at(n, c, p), ", expected ", expected.at(n, c, p),
                                    ", off by ", off, ", allowed ", bound(n, c, p));
  });
  return found;
}

/// The same for one number per channel; `bound` takes the channel.
template <class Vector, class Bound>
std::string beyond_channels(const Vector& result, const PerChannel& expected, const Bound& bound) {
  if (static_cast<Size>(result.size()) != expected.size()) return "another number of channels";
  for (Size c = 0; c < expected.size(); ++c) {
    const Real value = static_cast<Real>(result[static_cast<batchnorm::Index>(c)]);
    const Real off = std::fabs(value - expected[c]);
    if (!(off <= bound(c))) {
      return batchnorm::detail::text("channel ", c, ": ", value, ", expected ", expected[c],
                                     ", off by ", off, ", allowed ", bound(c));
    }
  }
  return {};
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_BOUNDS_HPP
