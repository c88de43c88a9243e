// SPDX-License-Identifier: MIT
// The oracle: batch normalization as slow and as obvious as it can be written, sharing nothing with
// the library. Formulas: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 1 and section 3.
#ifndef BATCHNORM_TESTS_SUPPORT_REFERENCE_BATCH_NORM_HPP
#define BATCHNORM_TESTS_SUPPORT_REFERENCE_BATCH_NORM_HPP
#include <cmath>
#include <vector>

namespace batchnorm_test::reference {
using Real = long double;
using PerChannel = std::vector<Real>;
using Size = PerChannel::size_type;
struct Batch {
  Size samples, channels, positions;
  std::vector<Real> values = std::vector<Real>(samples * channels * positions, 0);
  Size index(Size n, Size c, Size p) const { return (n * channels + c) * positions + p; }
  Real& at(Size n, Size c, Size p) { return values[index(n, c, p)]; }
  Real at(Size n, Size c, Size p) const { return values[index(n, c, p)]; }
  Real count() const { return static_cast<Real>(samples * positions); }
  template <class Body>
  void each(const Body& body) const {
    for (Size n = 0; n < samples; ++n)
      for (Size c = 0; c < channels; ++c)
        for (Size p = 0; p < positions; ++p) body(n, c, p);
  }
};

inline PerChannel mean(const Batch& x) {
  PerChannel mu(x.channels, 0);
  x.each([&](Size n, Size c, Size p) { mu[c] += x.at(n, c, p); });
  for (Real& value : mu) value /= x.count();
  return mu;
}

inline PerChannel variance(const Batch& x, const PerChannel& mu) {  // of the population: / n
  PerChannel sigma2(x.channels, 0);
  x.each([&](Size n, Size c, Size p) {
    const Real deviation = x.at(n, c, p) - mu[c];
    sigma2[c] += deviation * deviation;
  });
  for (Real& value : sigma2) value /= x.count();
  return sigma2;
}

struct Layer {
  PerChannel gamma, beta, mu, sigma2;
  Real epsilon;
  Real slope = 1;  // of the epilogue f below zero: 0 for ReLU, 1 for none
  Real root(Size c) const { return std::sqrt(sigma2[c] + epsilon); }
};

inline Batch zeros_like(const Batch& x) {
  return {x.samples, x.channels, x.positions};
}

// z = gamma xhat + beta + residual, which f is applied to.
inline Batch before_epilogue(const Layer& layer, const Batch& x, const Batch& residual) {
  Batch z = residual;
  x.each([&](Size n, Size c, Size p) {
    z.at(n, c, p) += layer.gamma[c] * (x.at(n, c, p) - layer.mu[c]) / layer.root(c) + layer.beta[c];
  });
  return z;
}

inline Batch forward(const Layer& layer, const Batch& x, const Batch& residual) {
  Batch y = before_epilogue(layer, x, residual);
  for (Real& value : y.values)
    if (value < 0) value *= layer.slope;
  return y;
}

inline Batch forward(const Layer& layer, const Batch& x) {
  return forward(layer, x, zeros_like(x));
}

struct Gradients {
  Batch x, residual;
  PerChannel gamma, beta;
};

// own_statistics: mu and sigma2 are functions of x, so the two paths through them are added.
inline Gradients backward(const Layer& l, const Batch& x, const Batch& residual, const Batch& dy,
                          bool own_statistics) {
  Gradients d{x, dy, PerChannel(x.channels, 0), PerChannel(x.channels, 0)};
  const Batch z = before_epilogue(l, x, residual);
  PerChannel dmu(x.channels, 0), dsigma2(x.channels, 0);
  x.each([&](Size n, Size c, Size p) {
    if (!(z.at(n, c, p) > 0)) d.residual.at(n, c, p) *= l.slope;  // dL/dz
    const Real dz = d.residual.at(n, c, p);
    const Real deviation = x.at(n, c, p) - l.mu[c], dxhat = dz * l.gamma[c];
    d.x.at(n, c, p) = dxhat / l.root(c);
    d.gamma[c] += dz * deviation / l.root(c);
    d.beta[c] += dz;
    dmu[c] -= dxhat / l.root(c);
    dsigma2[c] -= dxhat * deviation / (2 * (l.root(c) * l.root(c) * l.root(c)));
  });
  if (own_statistics)
    x.each([&](Size n, Size c, Size p) {
      d.x.at(n, c, p) += (dmu[c] + dsigma2[c] * 2 * (x.at(n, c, p) - l.mu[c])) / x.count();
    });
  return d;
}

inline Gradients backward(const Layer& l, const Batch& x, const Batch& dy, bool own_statistics) {
  return backward(l, x, zeros_like(x), dy, own_statistics);
}
}  // namespace batchnorm_test::reference
#endif  // BATCHNORM_TESTS_SUPPORT_REFERENCE_BATCH_NORM_HPP
