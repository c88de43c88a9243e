// SPDX-License-Identifier: MIT
// A minibatch cut into shards, and a step of training on one of them.
#ifndef BATCHNORM_TESTS_SUPPORT_SHARDS_HPP
#define BATCHNORM_TESTS_SUPPORT_SHARDS_HPP

#include <vector>

#include "batchnorm/layer.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

namespace batchnorm_test {

/// The samples [first, first + samples).
inline Batch some_of(const Batch& batch, Size first, Size samples) {
  std::vector<Size> chosen = indices(samples);
  for (Size& sample : chosen) sample += first;
  return pick(batch, chosen);
}

/// Shards of the given sizes, one after the other.
inline std::vector<Batch> shards_of(const Batch& batch, const std::vector<Size>& sizes) {
  std::vector<Batch> shards;
  Size first = 0;
  for (const Size size : sizes) {
    shards.push_back(some_of(batch, first, size));
    first += size;
  }
  return shards;
}

/// The samples of all, one after the other.
inline Batch joined(const std::vector<Batch>& shards) {
  Batch all{0, shards.front().channels, shards.front().positions};
  for (const Batch& shard : shards) {
    all.samples += shard.samples;
    all.values.insert(all.values.end(), shard.values.begin(), shard.values.end());
  }
  return all;
}

/// What a rank has after train and backward.
template <class T>
struct Step {
  Batch y{0, 0, 0}, dx{0, 0, 0};
  batchnorm::Moments<batchnorm::accumulator_t<T>> batch;
  batchnorm::Gradients<T> gradients{1};
  batchnorm::State<T> state{1};
};

/// A layer whose parameters differ from channel to channel.
template <class T>
batchnorm::BatchNorm<T> some_layer(Size channels, const batchnorm::Options& options = {}) {
  batchnorm::BatchNorm<T> layer(static_cast<batchnorm::Index>(channels), options);
  for (batchnorm::Index c = 0; c < layer.channels(); ++c) {
    layer.state().gamma[c] =
        static_cast<batchnorm::parameter_t<T>>(0.5 + 0.25 * static_cast<double>(c % 5));
    layer.state().beta[c] =
        static_cast<batchnorm::parameter_t<T>>(0.125 * static_cast<double>(c % 3));
  }
  return layer;
}

/// train and backward of an input: a view of `x`, masked or weighted perhaps.
template <class T, class In>
Step<T> step_on(batchnorm::BatchNorm<T>& layer, const In& in, const Stored<T>& x, const Batch& dy,
                Layout layout, const batchnorm::Execution& execution) {
  const Stored<T> out_gradient(dy, layout);
  Stored<T> y = x, dx = x;
  Step<T> step;
  step.batch = layer.train(in, y.view(), execution);
  step.gradients = layer.backward(step.batch, in, out_gradient.view(), dx.view(), execution);
  step.y = y.read();
  step.dx = dx.read();
  step.state = layer.state();
  return step;
}

template <class T>
Step<T> step_of(batchnorm::BatchNorm<T>& layer, const Batch& x, const Batch& dy, Layout layout,
                const batchnorm::Execution& execution) {
  const Stored<T> in(x, layout);
  return step_on(layer, in.view(), in, dy, layout, execution);
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_SHARDS_HPP
