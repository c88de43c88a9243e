// SPDX-License-Identifier: MIT
// Layers as the frameworks save them, written out by name.
#ifndef BATCHNORM_TESTS_SUPPORT_LAYER_FILES_HPP
#define BATCHNORM_TESTS_SUPPORT_LAYER_FILES_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "batchnorm/io/tensors.hpp"

namespace batchnorm_test {

/// The full names of the four vectors of a layer; an empty one is left out.
struct LayerKeys {
  std::string gamma, beta, mean, variance;
};

/// A layer of three channels: gamma 1.5 -2 0.5, beta 0.25 0 -1, mean -1 3 0.5, variance 4 0.25 2.
inline void add_layer(batchnorm::Tensors& tensors, const LayerKeys& keys) {
  const auto add = [&](const std::string& key, const std::vector<float>& numbers) {
    if (!key.empty()) tensors.set(key, {3}, numbers);
  };
  add(keys.gamma, {1.5f, -2.0f, 0.5f});
  add(keys.beta, {0.25f, 0.0f, -1.0f});
  add(keys.mean, {-1.0f, 3.0f, 0.5f});
  add(keys.variance, {4.0f, 0.25f, 2.0f});
}

inline LayerKeys pytorch_keys(const std::string& prefix) {
  return {prefix + "weight", prefix + "bias", prefix + "running_mean", prefix + "running_var"};
}

/// A layer that PyTorch saved, with its counter of 460 minibatches.
inline batchnorm::Tensors pytorch_layer(const std::string& prefix = "bn.") {
  batchnorm::Tensors tensors("pt");
  add_layer(tensors, pytorch_keys(prefix));
  tensors.set_value(prefix + "num_batches_tracked", std::int64_t{460});
  return tensors;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_LAYER_FILES_HPP
