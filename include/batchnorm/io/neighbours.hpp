// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_NEIGHBOURS_HPP
#define BATCHNORM_IO_NEIGHBOURS_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// What stands beside the tensors of a layer. A layer of a system that is not known here looks like
// one of which something is missing: its gamma, beta or statistics have other names. So whatever
// could be what is missing is an error, unless the caller says that nothing is.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether a tensor could be a vector of a layer: one number per channel, of any type.
inline bool could_be_vector(const Tensor& tensor, const FoundBatchNorm& layer) {
  return layer.channels > 0 && vector_size(tensor.shape) == layer.channels &&
         tensor.dtype != "BOOL";
}

/// Tensors beside a layer "bn1." that are called bn1_mean or bn1:mean.
inline std::vector<std::string> keys_after_stem(const Tensors& tensors, const std::string& prefix) {
  const std::size_t size = prefix.find_last_not_of(path_separators) + 1;
  std::vector<std::string> beside;
  if (size == 0 || size == prefix.size()) return beside;
  for (std::string& key : tensors.keys(prefix.substr(0, size))) {
    const bool is_beside = key.size() > size && (key[size] == '_' || key[size] == ':') &&
                           key.find_first_of(path_separators, size) == std::string::npos;
    if (is_beside) beside.push_back(std::move(key));
  }
  return beside;
}

/// All tensors that begin with a prefix of the layer, whatever follows, and are neither its own nor
/// those of an optimizer. Statistics that are missing may lie beside the prefix, too.
inline std::vector<std::string> neighbours_of(const Tensors& tensors, const FoundBatchNorm& layer) {
  std::vector<std::string> keys = tensors.keys(layer.prefix.parameters);
  if (!layer.has_statistics()) {
    for (std::string& key : keys_after_stem(tensors, layer.prefix.parameters)) {
      keys.push_back(std::move(key));
    }
  }
  if (layer.prefix.is_pair()) {
    for (std::string& key : tensors.keys(layer.prefix.statistics)) keys.push_back(std::move(key));
  }
  std::vector<std::string> idle;
  for (const std::string& name : layer.naming.idle_names()) {
    if (layer.has_statistics()) idle.push_back(layer.prefix.statistics + name);
  }
  const auto is_other = [&](const std::string& key) {
    const bool own = std::find(layer.keys.begin(), layer.keys.end(), key) != layer.keys.end() ||
                     std::find(idle.begin(), idle.end(), key) != idle.end();
    return !own && !is_optimizer_slot(key);
  };
  keys.erase(std::remove_if(keys.begin(), keys.end(),
                            [&](const std::string& key) { return !is_other(key); }),
             keys.end());
  return keys;
}

/// Whether nothing but a name follows the prefix of a layer, no further path.
inline bool is_right_below(const std::string& key, const LayerPrefix& prefix) {
  for (const std::string& beginning : {prefix.parameters, prefix.statistics}) {
    if (key.compare(0, beginning.size(), beginning) == 0 &&
        key.find_first_of(path_separators, beginning.size()) == std::string::npos) {
      return true;
    }
  }
  return false;
}

/// Whether a tensor right below the prefix of a layer has the shape of a vector of it, and a name
/// by which a system knows one.
inline bool is_vector_of_system(const Tensors& tensors, const FoundBatchNorm& layer,
                                const std::string& key) {
  const Tensor& tensor = tensors.tensor(key);
  if (tensor.shape.empty() || !could_be_vector(tensor, layer)) return false;
  for (const Naming& naming : Naming::known()) {
    if (naming.is_list()) continue;
    for (const Role role : vector_roles) {
      for (const std::string& name : naming.names(role)) {
        if (key == layer.prefix.of(role) + name) return true;
      }
    }
  }
  return false;
}

/// Reports what stands beside a layer.
/// @param is_named whether the system is not a guess: then vectors under names of another one are
///                 no error
/// @param missing  what of the layer has not been found and not been said to be absent, in words;
///                 empty when nothing is missing
inline void report_neighbours(const Tensors& tensors, const FoundBatchNorm& layer,
                              const std::string& missing, bool is_named, LoadReport& report) {
  constexpr std::size_t most = 8;  // of a prefix that is too short, any number begins with it
  std::size_t errors = 0;
  for (const std::string& key : neighbours_of(tensors, layer)) {
    const Tensor& tensor = tensors.tensor(key);
    if (!missing.empty() && could_be_vector(tensor, layer)) {
      if (++errors > most) continue;
      refuse(report, Finding::unexpected, key, "names of " + layer.naming.system(),
             missing + " under them, or no other tensor of one number per channel", "this one");
      continue;
    }
    if (!is_right_below(key, layer.prefix)) continue;
    if (!is_named && is_vector_of_system(tensors, layer, key)) {
      refuse(report, Finding::unexpected, key, "vectors of a layer",
             text("those of one system, or the word of the caller: LoadOptions::named, here ",
                  layer.naming.system()),
             "this one, too");
      continue;
    }
    note(report, Finding::unexpected, key,
         text("not read, ", tensor.dtype, " ", shape_text(tensor.shape)));
  }
  if (errors > most) {
    refuse(report, Finding::unexpected, "", "names of " + layer.naming.system(),
           "no other tensor of one number per channel", text(errors - most, " more of them"));
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_NEIGHBOURS_HPP
