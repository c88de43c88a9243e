// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_BATCH_NORMS_HPP
#define BATCHNORM_IO_BATCH_NORMS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A batch norm layer of a checkpoint: where it lies, and which of its tensors are there.
struct FoundBatchNorm {
  LayerPrefix prefix;
  Naming naming;
  std::array<std::string, roles> keys;  ///< the tensor of each Role; empty where there is none
  Index channels = 0;                   ///< 0 when no tensor has the shape of a vector
  std::string dtype;                    ///< of the running mean, or of the first tensor there is

  const std::string& key(Role role) const { return keys[static_cast<std::size_t>(role)]; }
  bool has(Role role) const { return !key(role).empty(); }

  /// Whether any running statistics are there. PyTorch's track_running_stats=False has none.
  bool has_statistics() const { return has(Role::mean) || has(Role::variance); }
};

namespace detail {

inline constexpr Role vector_roles[] = {Role::gamma, Role::beta, Role::mean, Role::variance};

/// A list of two arrays holds the statistics; one of four holds everything. Others stay as they
/// are, and examine.hpp refuses them.
inline void shift_list(FoundBatchNorm& layer) {
  if (!layer.naming.is_list() || layer.has_statistics()) return;
  std::swap(layer.keys[static_cast<std::size_t>(Role::gamma)],
            layer.keys[static_cast<std::size_t>(Role::mean)]);
  std::swap(layer.keys[static_cast<std::size_t>(Role::beta)],
            layer.keys[static_cast<std::size_t>(Role::variance)]);
}

/// What of a layer lies in one place under the names of one system.
inline FoundBatchNorm look_at(const Tensors& tensors, const LayerPrefix& place,
                              const Naming& naming) {
  FoundBatchNorm layer{place, naming, {}, 0, ""};
  for (std::size_t role = 0; role < roles; ++role) {
    for (const std::string& name : naming.names(static_cast<Role>(role))) {
      const std::string key = place.of(static_cast<Role>(role)) + name;
      if (layer.keys[role].empty() && tensors.contains(key)) layer.keys[role] = key;
    }
  }
  shift_list(layer);
  for (const Role role : {Role::mean, Role::variance, Role::gamma, Role::beta}) {
    if (!layer.has(role)) continue;
    const Tensor& tensor = tensors.tensor(layer.key(role));
    if (layer.dtype.empty()) layer.dtype = tensor.dtype;
    if (layer.channels == 0) layer.channels = vector_size(tensor.shape);
  }
  return layer;
}

/// Whether a layer is made of what an optimizer keeps for each parameter: names of gamma and beta
/// below a folder of its own, without statistics, which no optimizer has; or a list of its arrays.
inline bool is_of_optimizer(const FoundBatchNorm& layer) {
  if (layer.has_statistics() && !layer.naming.is_list()) return false;
  for (const std::string& key : layer.keys) {
    if (is_optimizer_slot(key)) return true;
  }
  return false;
}

/// How much of a layer was found; statistics tell batch norm from everything else.
inline int amount(const FoundBatchNorm& layer) {
  int found = 0;
  for (const Role role : vector_roles) found += layer.has(role) ? 1 : 0;
  return found + (layer.has(Role::mean) ? 8 : 0) + (layer.has(Role::variance) ? 8 : 0);
}

/// Whether the last part of a prefix says batch norm: bn1, conv_bn, BatchNorm_0,
/// batch_normalization_3. Not subnet.
inline bool is_called_batch_norm(const std::string& prefix) {
  const std::size_t end = prefix.find_last_not_of(path_separators) + 1;
  std::string word;
  std::string letters;
  for (std::size_t i = start_of_leaf(prefix.substr(0, end)); i <= end; ++i) {
    char letter = i < end ? prefix[i] : ' ';
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    if (letter >= 'a' && letter <= 'z') {
      word += letter;
      letters += letter;
    } else {
      if (word == "bn") return true;
      word.clear();
    }
  }
  return letters.find("batchnorm") != std::string::npos;
}

/// Whether something says in which order a list of arrays stands: this library has written it, or
/// it is the folder of a layer of Keras 3, which has the order of RTNeural.
inline bool is_list_of_known_order(const Tensors& tensors, const std::string& prefix) {
  if (tensors.metadata().count(metadata_key(prefix)) != 0) return true;
  for (const char* folder : {"/vars/", ".vars."}) {
    const std::string ending = folder;
    if (prefix.size() < ending.size()) continue;
    const std::size_t place = prefix.size() - ending.size();
    if (prefix.compare(place, ending.size(), ending) == 0 &&
        is_called_batch_norm(prefix.substr(0, place))) {
      return true;
    }
  }
  return false;
}

/// The layer that the caller means by a prefix; in doubt the first system of Naming::known().
/// @param naming  the system, when the caller knows it
/// @return nothing when no tensor of a layer is there.
inline std::optional<FoundBatchNorm> locate(const Tensors& tensors, const LayerPrefix& prefix,
                                            const std::optional<Naming>& naming) {
  std::optional<FoundBatchNorm> best;
  for (const Naming& candidate : naming ? std::vector<Naming>{*naming} : Naming::known()) {
    if (!naming && candidate.is_list() && !is_list_of_known_order(tensors, prefix.parameters)) {
      continue;
    }
    for (const LayerPrefix& place : places_of(prefix, candidate)) {
      FoundBatchNorm layer = look_at(tensors, place, candidate);
      if (is_of_optimizer(layer)) continue;
      if (amount(layer) > (best ? amount(*best) : 0)) best = std::move(layer);
    }
  }
  return best;
}

/// Whether all vectors of a layer are vectors of one size, of real numbers.
inline bool has_shapes_of_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer) {
  for (const Role role : vector_roles) {
    if (!layer.has(role)) continue;
    const Tensor& tensor = tensors.tensor(layer.key(role));
    if (tensor.shape != std::vector<Index>{layer.channels} || !is_real_dtype(tensor.dtype)) {
      return false;
    }
  }
  return layer.channels > 0;
}

inline bool is_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer) {
  if (is_of_optimizer(layer)) return false;
  const bool shapes = has_shapes_of_batch_norm(tensors, layer);
  const std::string& prefix = layer.prefix.parameters;
  if (layer.naming.is_list()) {
    return shapes && layer.has(Role::gamma) && layer.has(Role::variance) &&
           !tensors.contains(prefix + "4") && is_list_of_known_order(tensors, prefix);
  }
  if (layer.has_statistics()) {
    const bool both = layer.has(Role::mean) && layer.has(Role::variance);
    return layer.naming.is_telling() || (both && shapes);
  }
  return shapes && layer.has(Role::gamma) && is_called_batch_norm(prefix);
}

/// The places in which a tensor of that name could be part of a layer of that system.
inline std::optional<LayerPrefix> place_from_key(const std::string& key, const Naming& naming) {
  const std::size_t leaf = start_of_leaf(key);
  for (std::size_t role = 0; role < roles; ++role) {
    const Naming::Names& names = naming.names(static_cast<Role>(role));
    if (std::find(names.begin(), names.end(), key.substr(leaf)) == names.end()) continue;
    LayerPrefix place(key.substr(0, leaf));
    replace_part(place.parameters, naming.statistics_tree(), naming.parameters_tree());
    replace_part(place.statistics, naming.parameters_tree(), naming.statistics_tree());
    return place;
  }
  return std::nullopt;
}

}  // namespace detail

/// All batch norm layers of a checkpoint, found by the names and shapes of their tensors, sorted by
/// prefix with numbers in their order ("9." before "10.").
///
/// A layer is there when its running mean and variance are, under the names of one of the systems
/// of Naming::known(), as vectors of one size, with gamma and beta of that size or without them.
/// PyTorch's and Keras' names of statistics are used for nothing else, so with these a layer is
/// listed although a shape is wrong or one of the two is missing: examine_batch_norm says what is
/// wrong with it. Without any statistics batch norm looks like every other normalisation: such a
/// layer is listed when the last part of its prefix says bn or batch norm. A list of exactly four
/// vectors is listed when something says in which order they stand (see Naming). What an optimizer
/// keeps for each parameter is no layer.
///
/// No tensor belongs to two layers, and no prefix is listed twice: it is listed under the system
/// that load_state takes.
/// Cost: looks at names and shapes only, no element is read. Thread safe.
inline std::vector<FoundBatchNorm> find_batch_norms(const Tensors& tensors) {
  // The most complete first; in doubt the first system of Naming::known().
  std::map<std::tuple<int, std::size_t, std::string, std::string>, FoundBatchNorm> candidates;
  const std::vector<Naming> known = Naming::known();
  for (const std::string& key : tensors.keys()) {
    for (std::size_t system = 0; system < known.size(); ++system) {
      const std::optional<LayerPrefix> place = detail::place_from_key(key, known[system]);
      if (!place) continue;
      FoundBatchNorm layer = detail::look_at(tensors, *place, known[system]);
      if (!detail::is_batch_norm(tensors, layer)) continue;
      candidates.try_emplace({-detail::amount(layer), system, place->parameters, place->statistics},
                             std::move(layer));
    }
  }
  std::set<std::string> taken;
  std::set<std::string> prefixes;
  std::vector<FoundBatchNorm> layers;
  for (auto& [order, layer] : candidates) {
    bool is_free = prefixes.count(layer.prefix.parameters) == 0 &&
                   prefixes.count(layer.prefix.statistics) == 0;
    for (const std::string& key : layer.keys) is_free = is_free && taken.count(key) == 0;
    if (!is_free) continue;
    prefixes.insert({layer.prefix.parameters, layer.prefix.statistics});
    for (const std::string& key : layer.keys) {
      if (!key.empty()) taken.insert(key);
    }
    layers.push_back(std::move(layer));
  }
  std::sort(layers.begin(), layers.end(), [](const FoundBatchNorm& a, const FoundBatchNorm& b) {
    return detail::natural_less(a.prefix.parameters, b.prefix.parameters);
  });
  return layers;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_BATCH_NORMS_HPP
