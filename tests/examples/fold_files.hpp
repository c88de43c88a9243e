// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_EXAMPLES_FOLD_FILES_HPP
#define BATCHNORM_TESTS_EXAMPLES_FOLD_FILES_HPP

#include <batchnorm/io/safetensors.hpp>
#include <string>
#include <vector>

#include "support/random.hpp"

// What checkpoints for the test of 08_fold_checkpoint are made of.

namespace fold_test {

using batchnorm::Index;
using batchnorm::Tensors;
using Shape = std::vector<Index>;
using Numbers = std::vector<double>;

/// gamma, beta, mean and variance of a layer, by name.
struct NormKeys {
  std::string gamma, beta, mean, variance;
};

inline NormKeys pytorch(const std::string& prefix) {
  return {prefix + "weight", prefix + "bias", prefix + "running_mean", prefix + "running_var"};
}
inline NormKeys paddle(const std::string& prefix) {
  return {prefix + "weight", prefix + "bias", prefix + "_mean", prefix + "_variance"};
}
inline NormKeys keras(const std::string& prefix) {
  return {prefix + "gamma", prefix + "beta", prefix + "moving_mean", prefix + "moving_variance"};
}
inline NormKeys flax(const std::string& name) {
  return {"params/" + name + "/scale", "params/" + name + "/bias", "batch_stats/" + name + "/mean",
          "batch_stats/" + name + "/var"};
}

inline Index count_of(const Shape& shape) {
  Index count = 1;
  for (const Index extent : shape) count *= extent;
  return count;
}

inline Numbers drawn(example::Random& random, Index count, double low, double high) {
  Numbers numbers;
  for (Index i = 0; i < count; ++i) numbers.push_back(random.between(low, high));
  return numbers;
}

template <class T>
inline void set_as(Tensors& tensors, const std::string& key, const Shape& shape,
                   const Numbers& numbers) {
  std::vector<T> elements;
  for (const double number : numbers) elements.push_back(static_cast<T>(number));
  tensors.set(key, shape, elements);
}

inline void set(Tensors& tensors, const std::string& key, const Shape& shape,
                const Numbers& numbers, const std::string& dtype) {
  if (dtype == "F64") return set_as<double>(tensors, key, shape, numbers);
  if (dtype == "F16") return set_as<Eigen::half>(tensors, key, shape, numbers);
  if (dtype == "BF16") return set_as<Eigen::bfloat16>(tensors, key, shape, numbers);
  set_as<float>(tensors, key, shape, numbers);
}

inline void add_norm(Tensors& tensors, const NormKeys& keys, Index channels,
                     example::Random& random) {
  set(tensors, keys.gamma, {channels}, drawn(random, channels, -2.0, 2.0), "F32");
  set(tensors, keys.beta, {channels}, drawn(random, channels, -1.0, 1.0), "F32");
  set(tensors, keys.mean, {channels}, drawn(random, channels, -1.0, 1.0), "F32");
  set(tensors, keys.variance, {channels}, drawn(random, channels, 0.1, 4.0), "F32");
}

inline void add_layer(Tensors& tensors, const std::string& prefix, const Shape& shape,
                      example::Random& random) {
  set(tensors, prefix + "weight", shape, drawn(random, count_of(shape), -1.0, 1.0), "F32");
}

}  // namespace fold_test

#endif  // BATCHNORM_TESTS_EXAMPLES_FOLD_FILES_HPP
