// SPDX-License-Identifier: MIT
// Batch normalisation with weights as a function of everything it depends on, in long double, and
// its derivatives by central differences: what jvp, double backward and the variants are held to.
#ifndef BATCHNORM_TESTS_SUPPORT_REFERENCE_DERIVATIVES_HPP
#define BATCHNORM_TESTS_SUPPORT_REFERENCE_DERIVATIVES_HPP

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/reference_batch_norm.hpp"

namespace batchnorm_test::reference {

enum class Under { normalized, zero, kept };  // what becomes of values of weight 0

struct Weighted {
  PerChannel gamma, beta;
  Real epsilon;
  std::vector<Real> weights;  // of sample * positions + position
  bool frozen = false;        // mu and sigma2 below are constants
  PerChannel mu, sigma2;
  Under under = Under::normalized;
  Real weight(const Batch& x, Size n, Size p) const { return weights[n * x.positions + p]; }
  Real total() const {
    Real sum = 0;
    for (const Real w : weights) sum += w;
    return sum;
  }
};

inline Layer layer_at(const Weighted& norm, const Batch& x) {
  Layer layer{norm.gamma, norm.beta, norm.mu, norm.sigma2, norm.epsilon};
  if (norm.frozen) return layer;
  layer.mu.assign(x.channels, 0);
  layer.sigma2.assign(x.channels, 0);
  const Real total = norm.total();
  x.each([&](Size n, Size c, Size p) {
    if (norm.weight(x, n, p) > 0) layer.mu[c] += norm.weight(x, n, p) * x.at(n, c, p) / total;
  });
  x.each([&](Size n, Size c, Size p) {
    if (norm.weight(x, n, p) > 0)
      layer.sigma2[c] += norm.weight(x, n, p) * std::pow(x.at(n, c, p) - layer.mu[c], 2.0L) / total;
  });
  return layer;
}

inline Batch forward(const Weighted& norm, const Batch& x) {
  Batch y = forward(layer_at(norm, x), x);
  x.each([&](Size n, Size c, Size p) {
    if (norm.weight(x, n, p) > 0 || norm.under == Under::normalized) return;
    y.at(n, c, p) = norm.under == Under::zero ? 0 : x.at(n, c, p);
  });
  return y;
}

// The chain rule, one path after the other: through xhat, through mu, through sigma2.
inline Gradients backward(const Weighted& norm, const Batch& x, const Batch& dy) {
  const Layer l = layer_at(norm, x);
  Gradients d{zeros_like(x), zeros_like(x), PerChannel(x.channels, 0), PerChannel(x.channels, 0)};
  PerChannel dmu(x.channels, 0), dsigma2(x.channels, 0);
  const auto normalized = [&](Size n, Size p) {
    return norm.weight(x, n, p) > 0 || norm.under == Under::normalized;
  };
  x.each([&](Size n, Size c, Size p) {
    if (!normalized(n, p)) {
      if (norm.under == Under::kept) d.x.at(n, c, p) = dy.at(n, c, p);
      return;
    }
    const Real g = dy.at(n, c, p), deviation = x.at(n, c, p) - l.mu[c], dxhat = g * l.gamma[c];
    d.x.at(n, c, p) = dxhat / l.root(c);
    d.gamma[c] += g * deviation / l.root(c);
    d.beta[c] += g;
    dmu[c] -= dxhat / l.root(c);
    dsigma2[c] -= dxhat * deviation / (2 * std::pow(l.root(c), 3.0L));
  });
  if (norm.frozen) return d;
  x.each([&](Size n, Size c, Size p) {
    const Real share = norm.weight(x, n, p) / norm.total();
    if (share > 0) d.x.at(n, c, p) += share * (dmu[c] + dsigma2[c] * 2 * (x.at(n, c, p) - l.mu[c]));
  });
  return d;
}

inline Real dot(const Batch& a, const Batch& b) {
  Real sum = 0;
  for (Size i = 0; i < a.values.size(); ++i) sum += a.values[i] * b.values[i];
  return sum;
}
inline Real dot(const PerChannel& a, const PerChannel& b) {
  Real sum = 0;
  for (Size i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// df/dx_i of every number in `at`, a part of what f depends on: (f(x + s) - f(x - s)) / 2s, with
/// the term in s^2 taken out by a second step (Richardson).
template <class Function>
std::vector<Real> central_differences(std::vector<Real>& at, const Function& f, Real step = 1e-4L) {
  std::vector<Real> slopes(at.size());
  for (Size i = 0; i < at.size(); ++i) {
    const Real centre = at[i];
    const auto slope = [&](Real s) {
      at[i] = centre + s;
      const Real above = f();
      at[i] = centre - s;
      const Real below = f();
      at[i] = centre;
      return (above - below) / (2 * s);
    };
    const Real wide = slope(2 * step);
    slopes[i] = (4 * slope(step) - wide) / 3;
  }
  return slopes;
}

/// |got - expected| beside the largest number expected.
inline Real worst_share(const std::vector<Real>& got, const std::vector<Real>& expected) {
  Real worst = got.size() == expected.size() ? 0 : 1e30L, largest = 1e-30L;
  for (Size i = 0; i < expected.size() && i < got.size(); ++i) {
    worst = std::fmax(worst, std::fabs(got[i] - expected[i]));
    largest = std::max(largest, std::fabs(expected[i]));
    if (std::isnan(got[i])) worst = 1e30L;
  }
  return worst / largest;
}

}  // namespace batchnorm_test::reference
#endif  // BATCHNORM_TESTS_SUPPORT_REFERENCE_DERIVATIVES_HPP
