// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_HAZARDS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_HAZARDS_HPP

// What speaks against a pair that names suggest: traces in the file of something that stands
// between the two, or of weights that are not used as they are stored.

#include <algorithm>
#include <batchnorm/io/checkpoint.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "support/layer_names.hpp"
#include "support/planned_fold.hpp"
#include "support/weight_layer.hpp"

namespace example {

/// With so many channels it is no chance (1 in 256) that no mean is negative; with so few as the
/// second number, it is worth a look.
inline constexpr Index channels_for_certainty = 8;
inline constexpr Index channels_for_doubt = 4;

/// Whether no running mean is negative, and one is positive: what a ReLU between the layer and the
/// norm leaves, or a maximum behind one.
inline bool means_are_rectified(const Tensors& tensors, const FoundBatchNorm& norm) {
  if (!norm.has(batchnorm::Role::mean)) return false;
  const std::string& key = norm.key(batchnorm::Role::mean);
  if (!batchnorm::detail::is_real_dtype(tensors.dtype(key))) return false;
  const std::vector<double> means = tensors.values<double>(key);
  const auto negative = [](double mean) { return mean < 0.0; };
  const auto positive = [](double mean) { return mean > 0.0; };
  return std::none_of(means.begin(), means.end(), negative) &&
         std::any_of(means.begin(), means.end(), positive);
}

/// Names that a system gives by itself, from a class and a counter for each class. That dense_1 and
/// batch_normalization_1 have the same number says nothing: there may be more of one than of the
/// other. PyTorch has none of those; batch_normalization in its files comes from converters.
inline bool is_automatic_name(const std::string& leaf, const std::string& system) {
  const auto has_counter = [&](const std::string& word, bool needs_underscore) {
    if (leaf.compare(0, word.size(), word) != 0) return false;
    std::string counter = leaf.substr(word.size());
    if (!counter.empty() && counter[0] == '_')
      counter.erase(0, 1);
    else if (!counter.empty() && needs_underscore)
      return false;
    return counter.find_first_not_of("0123456789") == std::string::npos;
  };
  if (has_counter("batch_normalization", false)) return true;
  if (system == "PyTorch") return false;
  return has_counter("batch_norm", false) || has_counter("batchnorm", false) ||
         has_counter("dense", true) || has_counter("linear", true) || has_counter("conv", true);
}

/// A tensor that says that weights are quantised when the network runs, so that those in the file
/// are not what is multiplied with; "" when there is none.
inline std::string quantisation_tensor(const Tensors& tensors) {
  for (const std::string& key : tensors.keys()) {
    if (lower_case(key).find("quant") != std::string::npos) return key;
  }
  return "";
}

/// Why nobody can tell which axis of a layer's weights has the outputs; "" when it is known.
inline std::string doubt_of_layout(const WeightLayer& layer, const FoundBatchNorm& norm) {
  const bool is_known = norm.naming != batchnorm::Naming::burn() || !layer.is_linear();
  return is_known ? ""
                  : layer.name() +
                        " is linear: burn counts its inputs first and Gluon its outputs, and "
                        "names do not tell the two apart";
}

/// A tensor of a layer besides weights and bias, which may change its output (lora_A,
/// weight_g); "" when there is none.
inline std::string foreign_tensor(const Tensors& tensors, const WeightLayer& layer) {
  for (const std::string& key : tensors.keys(layer.prefix)) {
    const bool first_kernel = layer.is_separable && key == layer.prefix + "depthwise_kernel";
    if (key != layer.weight && key != layer.bias && !first_kernel) return key;
  }
  return "";
}

/// A tensor with the very numbers of a layer's weights: where a network uses one tensor in two
/// places, files hold it twice. "" when there is none.
inline std::string twin_of(const Tensors& tensors, const WeightLayer& layer) {
  const batchnorm::Tensor& own = tensors.tensor(layer.weight);
  for (const std::string& key : tensors.keys()) {
    const batchnorm::Tensor& other = tensors.tensor(key);
    if (key != layer.weight && other.dtype == own.dtype && other.shape == own.shape &&
        std::memcmp(other.bytes.get(), own.bytes.get(), own.size) == 0) {
      return key;
    }
  }
  return "";
}

/// The other name of a tensor that the file holds once for two: the writers of safetensors note
/// down the name that was left out, and the one that was kept. "" when there is none.
inline std::string other_name_of(const Tensors& tensors, const std::string& key) {
  for (const auto& [left_out, kept] : tensors.metadata()) {
    if (kept == key) return left_out;
  }
  return "";
}

/// Why a norm may not stand right behind a layer although their names say so; "" when nothing is
/// known against it.
inline std::string doubt_of_order(const Tensors& tensors, const FoundBatchNorm& norm) {
  if (norm.channels < channels_for_doubt || !means_are_rectified(tensors, norm)) return "";
  return "none of its " + std::to_string(norm.channels) +
         " running means is negative, as if a ReLU stood between";
}

/// Why the weights of a layer may not be what the network multiplies with, or not there alone.
inline std::string doubt_of_weights(const Tensors& tensors, const WeightLayer& layer) {
  const std::string foreign = foreign_tensor(tensors, layer);
  if (!foreign.empty()) return foreign + " may change what " + layer.name() + " gives";
  const std::string twin = twin_of(tensors, layer);
  if (!twin.empty()) {
    return layer.weight + " and " + twin +
           " hold the same numbers: where the network has one tensor for both, no fold is right";
  }
  return "";
}

/// What no insisting helps against: tensors that others use as well.
/// @param norms  all of the file
inline std::string certain_obstacle(const Tensors& tensors, const PlannedFold& fold,
                                    const std::vector<FoundBatchNorm>& norms) {
  std::vector<std::string> keys = {fold.layer.weight, fold.layer.bias};
  for (const FoundBatchNorm& norm : fold.norms()) {
    for (const std::string& key : norm.keys) {
      if (key.empty()) continue;
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) return key + " belongs to two";
      keys.push_back(key);
    }
  }
  for (const FoundBatchNorm& other : norms) {
    for (const std::string& key : other.keys) {
      if (!key.empty() && !fold.has(name_of(other)) &&
          std::find(keys.begin(), keys.end(), key) != keys.end()) {
        return key + " belongs to " + name_of(other) + ", too";
      }
    }
  }
  for (const std::string& key : keys) {
    const std::string other = other_name_of(tensors, key);
    if (!other.empty()) return key + " is also " + other + ", says the file";
  }
  return "";
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_HAZARDS_HPP
