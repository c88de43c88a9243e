// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_NUMBERS_HPP
#define BATCHNORM_IO_LAYER_NUMBERS_HPP

#include <array>
#include <cstddef>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline bool is_exactly(double number, double other) {
  return number <= other && number >= other;
}

/// The numbers of a layer, first as the file has them, then as a State has them; empty where there
/// are none.
struct LayerNumbers {
  std::array<std::vector<double>, 4> vectors;  ///< by Role
  std::array<bool, 4> is_converted{};          ///< whether they are others than those of the file
  std::vector<double> input_bias;
  double factor = 1.0;
  Index batches_seen = -1;  ///< -1 when the file does not say

  std::vector<double>& of(Role role) { return vectors[static_cast<std::size_t>(role)]; }
  const std::vector<double>& of(Role role) const { return vectors[static_cast<std::size_t>(role)]; }
  bool converts(Role role) const { return is_converted[static_cast<std::size_t>(role)]; }
};

/// The elements of a vector as they lie in the file, in their order.
template <class T>
std::vector<T> stored_values(const Tensors& tensors, const FoundBatchNorm& layer, Role role) {
  std::vector<T> all = tensors.values<T>(layer.key(role));
  const bool is_statistic = role == Role::mean || role == Role::variance;
  if (!layer.naming.has_moments() || !is_statistic) return all;
  const bool second = role == Role::variance;
  const std::size_t channels = static_cast<std::size_t>(layer.channels);
  const bool in_columns = tensors.shape(layer.key(role))[1] == 2;
  std::vector<T> half;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    half.push_back(in_columns ? all[2 * channel + (second ? 1 : 0)]
                              : all[channel + (second ? channels : 0)]);
  }
  return half;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_NUMBERS_HPP
