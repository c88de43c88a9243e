// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_TENSORS_HPP
#define BATCHNORM_IO_LAYER_TENSORS_HPP

#include <algorithm>
#include <cstddef>
#include <iterator>
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
                                                       "momentum_buffer",
                                                       "optim",
                                                       "optim_state",
                                                       "optimizer_state_dict"};

// What training programs call a second copy of a network, averaged over the training.
inline constexpr std::string_view average_words[] = {
    "ema",        "ema_model",     "model_ema",   "ema_state_dict", "state_dict_ema", "params_ema",
    "ema_params", "ema_variables", "ema_weights", "averaged",       "swa_model",      "shadow"};

/// Calls body with each part of a name, until it is true for one.
/// @return the place behind that part and its separator; npos when there is none.
template <class Body>
std::size_t behind_part(std::string_view name, const Body& body) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = (std::min)(name.find_first_of("./:", begin), name.size());
    if (body(name.substr(begin, end - begin))) return (std::min)(end + 1, name.size());
    begin = end + 1;
  }
  return std::string_view::npos;
}

/// Whether a name is one of an optimizer. Its numbers have the shapes, and often the names, of the
/// parameters that they belong to.
inline bool is_optimizer_slot(std::string_view key) {
  return behind_part(key, [](std::string_view part) {
           return std::find(std::begin(optimizer_words), std::end(optimizer_words), part) !=
                  std::end(optimizer_words);
         }) != std::string_view::npos;
}

/// The place behind the part of a prefix that says that it is of an averaged copy; npos for others.
inline std::size_t behind_average_word(std::string_view prefix) {
  return behind_part(prefix, [](std::string_view part) {
    return std::find(std::begin(average_words), std::end(average_words), part) !=
           std::end(average_words);
  });
}

/// What a layer is called in the network, where its prefix says that it is of an averaged copy; ""
/// for others.
inline std::string name_in_average(std::string_view prefix) {
  const std::size_t behind = behind_average_word(prefix);
  if (behind == std::string_view::npos) return {};
  std::string name(prefix.substr(behind));
  for (const std::string wrapper : {"module.", "model."}) {
    if (name.compare(0, wrapper.size(), wrapper) == 0) name.erase(0, wrapper.size());
  }
  return name;
}

/// Whether a part of a prefix speaks of quantisation.
inline bool is_of_quantiser(std::string_view prefix) {
  return behind_part(prefix, [](std::string_view part) {
           std::string lower(part);
           for (char& letter : lower) {
             if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
           }
           return lower.find("quant") != std::string::npos ||
                  lower.find("observer") != std::string::npos || lower == "activation_post_process";
         }) != std::string_view::npos;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_TENSORS_HPP
