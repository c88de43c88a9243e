// SPDX-License-Identifier: MIT
// Layers to be folded: random ones in every order of weights, stored as T, next to the oracle's
// copy of the same numbers.
#ifndef BATCHNORM_TESTS_SUPPORT_FOLD_CASES_HPP
#define BATCHNORM_TESTS_SUPPORT_FOLD_CASES_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "batchnorm/fold/geometry.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/state.hpp"
#include "support/generators.hpp"
#include "support/reference_convolution.hpp"

namespace batchnorm_test {

enum class Order { oihw, hwio, hwim, iohw, hwoi };

struct FoldCase {
  std::string name;
  Order order;
  int out, in, groups;
  reference::Axes axes;
};

inline bool is_transposed(const FoldCase& test) {
  return test.order == Order::iohw || test.order == Order::hwoi;
}

/// Where weight (o, i, k) stands, by the documentation of the framework that has this order.
inline Size place_of(const FoldCase& test, int taps, int o, int i, int k) {
  const int in_group = test.in / test.groups;
  const int out_group = test.out / test.groups;
  switch (test.order) {
    case Order::oihw:
      return Size((o * in_group + i % in_group) * taps + k);
    case Order::hwio:
      return Size((k * in_group + i % in_group) * test.out + o);
    case Order::hwim:
      return Size((k * test.in + i) * out_group + o % out_group);
    case Order::iohw:
      return Size((i * out_group + o % out_group) * taps + k);
    case Order::hwoi:
      break;
  }
  return Size((k * test.out + o) * test.in + i);
}

template <class T>
batchnorm::WeightView<T> view_of_weights(const FoldCase& test, int taps, std::vector<T>& memory) {
  switch (test.order) {
    case Order::oihw:
      return batchnorm::convolution_oihw(memory.data(), test.out, test.in, taps, test.groups);
    case Order::hwio:
      return batchnorm::convolution_hwio(memory.data(), test.out, test.in, taps, test.groups);
    case Order::hwim:
      return batchnorm::depthwise_hwim(memory.data(), test.in, test.out / test.in, taps);
    case Order::iohw:
      return batchnorm::transposed_iohw(memory.data(), test.out, test.in, taps, test.groups);
    case Order::hwoi:
      break;
  }
  return batchnorm::transposed_hwoi(memory.data(), test.out, test.in, taps);
}

/// A layer in memory as a framework stores it, and the oracle's layer of the same numbers.
template <class T>
struct StoredLayer {
  FoldCase test;
  reference::Convolution oracle;
  std::vector<T> memory;
  Eigen::Matrix<T, Eigen::Dynamic, 1> bias;

  StoredLayer(const FoldCase& which, Random& random, bool with_bias)
      : test(which), oracle{which.out, which.in, which.groups, which.axes, is_transposed(which)} {
    memory.resize(Size(test.out * (test.in / test.groups) * oracle.taps()));
    each([&](Size place, int, int, int) { memory[place] = static_cast<T>(random.normal()); });
    if (with_bias) {
      bias.resize(test.out);
      for (T& value : bias) value = static_cast<T>(3 * random.normal());
    }
    oracle = now();
  }

  batchnorm::WeightView<T> weights() { return view_of_weights(test, oracle.taps(), memory); }

  template <class Body>
  void each(const Body& body) const {
    for (int o = 0; o < test.out; ++o)
      for (int i = 0; i < test.in; ++i)
        for (int k = 0; k < oracle.taps(); ++k)
          if (oracle.connected(o, i)) body(place_of(test, oracle.taps(), o, i, k), o, i, k);
  }

  /// The oracle's layer of what is in memory now.
  reference::Convolution now() const {
    reference::Convolution layer = oracle;
    each([&](Size place, int o, int i, int k) {
      layer.weight(o, i, k) = static_cast<Real>(memory[place]);
    });
    for (int o = 0; o < test.out; ++o)
      layer.bias[Size(o)] = bias.size() == 0 ? 0 : static_cast<Real>(bias[o]);
    return layer;
  }
};

/// A norm with gains of both signs, and means that are several deviations from zero.
template <class T>
batchnorm::State<T> random_state(Random& random, int channels) {
  batchnorm::State<T> state(channels);
  for (batchnorm::Index c = 0; c < channels; ++c) {
    using S = typename batchnorm::State<T>::Scalar;
    state.gamma[c] = static_cast<S>(random.normal());
    state.beta[c] = static_cast<S>(random.normal());
    state.running_mean[c] = static_cast<S>(3 * random.normal());
    state.running_variance[c] = static_cast<S>(random.uniform(0.1, 4));
  }
  return state;
}

template <class T>
reference::Layer oracle_of(const batchnorm::State<T>& state, double epsilon) {
  const auto list = [](const auto& vector) {
    PerChannel values;
    for (const auto& value : vector) values.push_back(static_cast<Real>(value));
    return values;
  };
  return {list(state.gamma), list(state.beta), list(state.running_mean),
          list(state.running_variance), static_cast<Real>(epsilon)};
}

inline reference::Planes random_planes(Random& random, int channels, reference::Place size) {
  reference::Planes planes{channels, size};
  for (Real& value : planes.values) value = 2 * random.normal();
  return planes;
}

/// The norm that changes nothing.
inline reference::Layer no_norm(int channels) {
  return {PerChannel(Size(channels), 1), PerChannel(Size(channels), 0),
          PerChannel(Size(channels), 0), PerChannel(Size(channels), 1), 0};
}

/// The unit of a certificate over 2^(1 - digits), from its definition: X sum |w s| + B, where
/// `before` and `after` are the norms around the unfolded layer.
inline Real magnitude(const reference::Convolution& layer, const reference::Layer& before,
                      const reference::Layer& after, int o, Real largest_input) {
  Real scaled = 0, others = std::fabs(layer.bias[Size(o)]) + std::fabs(after.mu[Size(o)]);
  for (int i = 0; i < layer.in; ++i) {
    const Real gain = std::fabs(before.gamma[Size(i)]) / before.root(Size(i));
    for (int k = 0; k < layer.taps(); ++k) {
      const Real weight = std::fabs(layer.weight(o, i, k));
      scaled += weight * gain;
      others += weight * (gain * std::fabs(before.mu[Size(i)]) + std::fabs(before.beta[Size(i)]));
    }
  }
  const Real gain = std::fabs(after.gamma[Size(o)]) / after.root(Size(o));
  return gain * (largest_input * scaled + others) + std::fabs(after.beta[Size(o)]);
}

/// The largest difference of two outputs in units of a certificate for weights of type T.
template <class T>
double change_in_ulps(const reference::Planes& unfolded, const reference::Planes& folded,
                      const reference::Convolution& layer, const reference::Layer& before,
                      const reference::Layer& after, Real largest_input) {
  const int digits = std::numeric_limits<T>::digits;
  Real most = 0;
  for (int o = 0; o < layer.out; ++o)
    for (int p = 0; p < unfolded.places(); ++p)
      most = std::max(most, std::fabs(unfolded.at(o, p) - folded.at(o, p)) /
                                magnitude(layer, before, after, o, largest_input));
  return static_cast<double>(std::ldexp(most, digits - 1));
}

inline Real largest_of(const reference::Planes& x) {
  Real most = 0;
  for (const Real value : x.values) most = std::max(most, std::fabs(value));
  return most;
}

inline std::vector<batchnorm::ConvolutionAxis> library_axes(const reference::Axes& axes) {
  std::vector<batchnorm::ConvolutionAxis> all;
  for (const reference::Axis& axis : axes) {
    all.push_back(
        {axis.input, axis.kernel, axis.stride, axis.before, axis.after, axis.dilation, axis.extra});
  }
  return all;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_FOLD_CASES_HPP
