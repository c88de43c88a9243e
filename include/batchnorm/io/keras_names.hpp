// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_NAMES_HPP
#define BATCHNORM_IO_KERAS_NAMES_HPP

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/keras_config.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Which batch norm of a model's JSON the arrays under a path are those of. Keras 1, 2 and
// TensorFlow.js put the name of the layer at the end of the path, those of some of the models
// around it before; a wrapper such as TimeDistributed may stand there for its layer.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The parts of a prefix, without what ends it: "a/bn1/bn1_" -> a, bn1, bn1.
inline std::vector<std::string> parts_of_prefix(std::string prefix) {
  prefix.erase(prefix.find_last_not_of("/_") + 1);
  return split_text(prefix, '/');
}

/// How well a norm of the JSON fits a path: how many of the names around it the path has in their
/// order, less those that it lacks. Nothing when the path is not one of that layer.
inline std::optional<int> fit_of(const KerasBatchNorm& norm,
                                 const std::vector<std::string>& parts) {
  const std::string& leaf = parts.back();
  const bool is_own = norm.name == leaf;
  const bool is_wrapper = norm.is_wrapped && !norm.around.empty() && norm.around.back() == leaf;
  if (!is_own && !is_wrapper) return std::nullopt;
  const std::size_t end = norm.around.size() - (is_own ? 0 : 1);
  std::size_t next = 0;
  int fit = 0;
  for (std::size_t i = 0; i < end; ++i) {
    if (norm.around[i].empty()) continue;
    std::size_t place = next;
    while (place + 1 < parts.size() && parts[place] != norm.around[i]) ++place;
    const bool is_there = place + 1 < parts.size();
    if (is_there) next = place + 1;
    fit += is_there ? 1 : -1;
  }
  return fit;
}

inline bool are_same(const Options& a, const Options& b) {
  return options_to_json(a) == options_to_json(b);
}

/// The norm that fits a path best; nullptr when none does, or several do that differ.
inline const KerasBatchNorm* find_keras_norm(const std::string& prefix,
                                             const std::vector<KerasBatchNorm>& norms) {
  const std::vector<std::string> parts = parts_of_prefix(prefix);
  const KerasBatchNorm* best = nullptr;
  int most = 0;
  bool is_unsure = false;
  for (const KerasBatchNorm& norm : norms) {
    const std::optional<int> fit = fit_of(norm, parts);
    if (!fit || (best != nullptr && *fit < most)) continue;
    const bool is_tie = best != nullptr && *fit == most;
    is_unsure = is_tie && (is_unsure || !are_same(best->options(), norm.options()));
    best = &norm;
    most = *fit;
  }
  return is_unsure ? nullptr : best;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_KERAS_NAMES_HPP
