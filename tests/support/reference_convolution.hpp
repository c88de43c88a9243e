// SPDX-License-Identifier: MIT
// The oracle for folds: convolutions with up to three spatial axes, as slow and as obvious as they
// can be written, in long double, sharing nothing with the library. Groups are weights that are 0.
#ifndef BATCHNORM_TESTS_SUPPORT_REFERENCE_CONVOLUTION_HPP
#define BATCHNORM_TESTS_SUPPORT_REFERENCE_CONVOLUTION_HPP
#include <array>
#include <cmath>
#include <vector>

#include "support/reference_batch_norm.hpp"

namespace batchnorm_test::reference {

/// One axis; zeros stand before and after the input. `extra` is added to a transposed output.
struct Axis {
  int input = 1, kernel = 1, stride = 1, before = 0, after = 0, dilation = 1, extra = 0;
  int output(bool transposed) const {
    const int reach = dilation * (kernel - 1) + 1;
    return transposed ? (input - 1) * stride + reach - before - after + extra
                      : (input + before + after - reach) / stride + 1;
  }
};
using Axes = std::array<Axis, 3>;
using Place = std::array<int, 3>;

/// Numbers of a box of up to three axes, the last one fastest, one box per channel.
struct Planes {
  int channels;
  Place size;
  std::vector<Real> values = std::vector<Real>(Size(channels * places()), 0);
  int places() const { return size[0] * size[1] * size[2]; }
  int index(Place p) const { return (p[0] * size[1] + p[1]) * size[2] + p[2]; }
  bool holds(Place p) const {
    for (Size a = 0; a < 3; ++a)
      if (p[a] < 0 || p[a] >= size[a]) return false;
    return true;
  }
  Real& at(int c, int place) { return values[Size(c * places() + place)]; }
  Real at(int c, int place) const { return values[Size(c * places() + place)]; }
};

template <class Body>
void each_place(Place size, const Body& body) {
  for (int z = 0; z < size[0]; ++z)
    for (int y = 0; y < size[1]; ++y)
      for (int x = 0; x < size[2]; ++x) body(Place{z, y, x});
}

struct Convolution {
  int out, in, groups;
  Axes axes;
  bool transposed = false;
  std::vector<Real> weights = std::vector<Real>(Size(out * in * taps()), 0);  // out x in x taps
  std::vector<Real> bias = std::vector<Real>(Size(out), 0);

  Place kernel() const { return {axes[0].kernel, axes[1].kernel, axes[2].kernel}; }
  Place input() const { return {axes[0].input, axes[1].input, axes[2].input}; }
  Place output() const {
    return {axes[0].output(transposed), axes[1].output(transposed), axes[2].output(transposed)};
  }
  int taps() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }
  bool connected(int o, int i) const { return o / (out / groups) == i / (in / groups); }
  Real& weight(int o, int i, int k) { return weights[Size((o * in + i) * taps() + k)]; }
  Real weight(int o, int i, int k) const { return weights[Size((o * in + i) * taps() + k)]; }
};

/// Adds up y[o,p] += w[o,i,k] x[i,q]: over all p and k with q looked up, or over all q and k with p
/// looked up (transposed), as the operations are defined.
inline Planes convolve(const Convolution& layer, const Planes& x) {
  Planes y{layer.out, layer.output()};
  const Planes box{0, layer.kernel()};
  const auto other = [&](Place from, Place k) {
    Place to{};
    for (Size a = 0; a < 3; ++a)
      to[a] = from[a] * layer.axes[a].stride + k[a] * layer.axes[a].dilation - layer.axes[a].before;
    return to;
  };
  const Place from_size = layer.transposed ? x.size : y.size;
  each_place(from_size, [&](Place from) {
    each_place(layer.kernel(), [&](Place k) {
      const Place to = other(from, k);
      if (!(layer.transposed ? y : x).holds(to)) return;
      const int p = layer.transposed ? y.index(to) : y.index(from);
      const int q = layer.transposed ? x.index(from) : x.index(to);
      for (int o = 0; o < layer.out; ++o)
        for (int i = 0; i < layer.in; ++i)
          y.at(o, p) += layer.weight(o, i, box.index(k)) * x.at(i, q);
    });
  });
  for (int o = 0; o < layer.out; ++o)
    for (int p = 0; p < y.places(); ++p) y.at(o, p) += layer.bias[Size(o)];
  return y;
}

/// The batch norm of the other oracle, on planes.
inline Planes forward(const Layer& norm, Planes x) {
  for (int c = 0; c < x.channels; ++c)
    for (int p = 0; p < x.places(); ++p)
      x.at(c, p) = norm.gamma[Size(c)] * (x.at(c, p) - norm.mu[Size(c)]) / norm.root(Size(c)) +
                   norm.beta[Size(c)];
  return x;
}

}  // namespace batchnorm_test::reference

#endif  // BATCHNORM_TESTS_SUPPORT_REFERENCE_CONVOLUTION_HPP
