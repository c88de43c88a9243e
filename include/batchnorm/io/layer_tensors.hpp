// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_TENSORS_HPP
#define BATCHNORM_IO_LAYER_TENSORS_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Which tensors of a file may belong to a batch norm layer, by shape and by name.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Channels of a tensor that has one number for each, however its axes are written: [C], [1, C],
/// [1, C, 1, 1], [1, 1, 1, C], or [] for one channel. 0 for a tensor with two axes of more.
inline Index vector_size(const std::vector<Index>& shape) {
  Index size = 1;
  for (const Index extent : shape) {
    if (extent == 1) continue;
    if (size != 1) return 0;
    size = extent;
  }
  return size;
}

/// Channels of a tensor of two numbers for each, as [C, 2], or as [2, C] where a reader has turned
/// it. 0 when it is none, or when nobody can tell.
inline Index moments_size(const std::vector<Index>& shape) {
  if (shape.size() != 2 || shape[0] == shape[1]) return 0;
  return shape[1] == 2 ? shape[0] : shape[0] == 2 ? shape[1] : 0;
}

// What optimizers call the folders of their own numbers (Keras, TensorFlow, Optax, PyTorch), and
// what TensorFlow puts behind the name of the parameter to which such numbers belong.
inline constexpr std::string_view optimizer_words[] = {"optimizer",
                                                       "optimizer_weights",
                                                       "optimizer_variables",
                                                       "optimizer_state",
                                                       "opt_state",
                                                       "OPTIMIZER_SLOT",
                                                       "Adam",
                                                       "Adam_1",
                                                       "Momentum",
                                                       "ExponentialMovingAverage",
                                                       "RMSProp",
                                                       "RMSProp_1",
                                                       "Adagrad",
                                                       "Adadelta",
                                                       "Adadelta_1",
                                                       "Ftrl",
                                                       "Ftrl_1",
                                                       "exp_avg",
                                                       "exp_avg_sq",
                                                       "momentum_buffer"};

/// Whether a name is one of an optimizer. Its numbers have the shapes, and often the names, of the
/// parameters that they belong to.
inline bool is_optimizer_slot(std::string_view key) {
  constexpr const char* separators = "./:";
  for (std::size_t begin = 0; begin < key.size();) {
    const std::size_t end = (std::min)(key.find_first_of(separators, begin), key.size());
    const std::string_view part = key.substr(begin, end - begin);
    for (const std::string_view word : optimizer_words) {
      if (part == word) return true;
    }
    begin = end + 1;
  }
  return false;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_TENSORS_HPP
