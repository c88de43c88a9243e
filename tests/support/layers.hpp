// SPDX-License-Identifier: MIT
// Between the oracle's numbers and the library's objects.
#ifndef BATCHNORM_TESTS_SUPPORT_LAYERS_HPP
#define BATCHNORM_TESTS_SUPPORT_LAYERS_HPP

#include <vector>

#include "batchnorm/layer.hpp"
#include "support/bounds.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_batch_norm.hpp"

namespace batchnorm_test {

template <class T>
batchnorm::ChannelVector<batchnorm::parameter_t<T>> to_vector(const PerChannel& values) {
  batchnorm::ChannelVector<batchnorm::parameter_t<T>> vector(
      static_cast<batchnorm::Index>(values.size()));
  for (Size c = 0; c < values.size(); ++c) {
    vector[static_cast<batchnorm::Index>(c)] = static_cast<batchnorm::parameter_t<T>>(values[c]);
  }
  return vector;
}

/// Numbers of the library as the oracle has them, a matrix column by column.
template <class Numbers>
std::vector<Real> to_reals(const Numbers& numbers) {
  std::vector<Real> all;
  for (Eigen::Index i = 0; i < numbers.size(); ++i) {
    all.push_back(static_cast<Real>(numbers.data()[i]));
  }
  return all;
}

/// gamma and beta as given, the oracle's statistics as running statistics.
template <class T>
batchnorm::BatchNorm<T> make_layer(const reference::Layer& layer, batchnorm::Options options) {
  options.epsilon = static_cast<double>(layer.epsilon);
  batchnorm::State<T> state(static_cast<batchnorm::Index>(layer.gamma.size()));
  state.gamma = to_vector<T>(layer.gamma);
  state.beta = to_vector<T>(layer.beta);
  state.running_mean = to_vector<T>(layer.mu);
  state.running_variance = to_vector<T>(layer.sigma2);
  return batchnorm::BatchNorm<T>(state, options);
}

/// A layer in the numbers of T with parameters of both signs, normalising with the statistics of x.
template <class T>
reference::Layer random_layer(Random& random, const Batch& x, double epsilon = 1e-5) {
  using P = batchnorm::parameter_t<T>;
  reference::Layer layer = plain_layer(x, epsilon);
  layer.gamma = stored_as<P>(uniform_channels(random, x.channels, -2, 2));
  layer.beta = stored_as<P>(uniform_channels(random, x.channels, -3, 3));
  return layer;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_LAYERS_HPP
