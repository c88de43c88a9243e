// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_BATCH_NORMS_HPP
#define BATCHNORM_IO_BATCH_NORMS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/places.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/scale_layer.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// Longer than most: what makes a layer plausible, and who wins where two systems explain the same
// tensors, has to be seen together, by prefix and for a whole file.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A batch norm layer of a checkpoint: where it lies, and which of its tensors are there. Errors:
/// none. Thread safety: a plain value.
struct FoundBatchNorm {
  LayerPrefix prefix;                   ///< what it is called
  Naming naming;                        ///< whose names its tensors have
  std::array<std::string, roles> keys;  ///< the tensor of each Role; empty where there is none
  Index channels = 0;  ///< number of channels; 0 when no tensor has the shape of a vector
  std::string dtype;   ///< of the running mean, or of the first tensor there is

  /// The name of the tensor of a role; empty where there is none.
  const std::string& key(Role role) const { return keys[static_cast<std::size_t>(role)]; }
  /// Whether there is a tensor of that role.
  bool has(Role role) const { return !key(role).empty(); }

  /// Whether any running statistics are there. PyTorch's track_running_stats=False has none.
  bool has_statistics() const { return has(Role::mean) || has(Role::variance); }
};

namespace detail {

inline constexpr Role vector_roles[] = {Role::gamma, Role::beta, Role::mean, Role::variance};

inline void swap_roles(FoundBatchNorm& layer, Role a, Role b) {
  std::swap(layer.keys[static_cast<std::size_t>(a)], layer.keys[static_cast<std::size_t>(b)]);
}

/// The statistics are the last two arrays of a list. One of four holds everything, one of two
/// nothing else; of three, nobody knows what the first is. Other lists stay as they are, and
/// examine.hpp refuses them.
inline void shift_list(FoundBatchNorm& layer) {
  if (!layer.naming.is_list() || layer.naming.has_scale_layer() || layer.has(Role::variance))
    return;
  if (!layer.has(Role::mean)) {
    swap_roles(layer, Role::gamma, Role::mean);
    swap_roles(layer, Role::beta, Role::variance);
  } else if (layer.naming.list_shrinks()) {
    swap_roles(layer, Role::mean, Role::variance);
    swap_roles(layer, Role::beta, Role::mean);
  }
}

/// Gives the first of three arrays its role, when it is known that there is no gamma, or no beta.
inline void assign_first_of_three(FoundBatchNorm& layer, std::optional<bool> scale,
                                  std::optional<bool> shift) {
  const bool is_three = layer.naming.list_shrinks() && layer.has(Role::gamma) &&
                        !layer.has(Role::beta) && layer.has(Role::variance);
  if (is_three && scale == false && shift != false) swap_roles(layer, Role::gamma, Role::beta);
}

/// Channels of the tensor in a role.
inline Index channels_of(const Tensors& tensors, const FoundBatchNorm& layer, Role role) {
  const std::vector<Index>& shape = tensors.shape(layer.key(role));
  const bool is_statistic = role == Role::mean || role == Role::variance;
  return layer.naming.has_moments() && is_statistic ? moments_size(shape) : vector_size(shape);
}

/// What of a layer lies in one place under the names of one system.
inline FoundBatchNorm look_at(const Tensors& tensors, const LayerPrefix& place,
                              const Naming& naming) {
  FoundBatchNorm layer{place, naming, {}, 0, ""};
  for (std::size_t role = 0; role < roles; ++role) {
    const bool is_affine = role < static_cast<std::size_t>(Role::mean);
    if (naming.has_scale_layer() && is_affine && !place.is_pair()) continue;
    for (const std::string& name : naming.names(static_cast<Role>(role))) {
      const std::string key = place.of(static_cast<Role>(role)) + name;
      if (layer.keys[role].empty() && tensors.contains(key)) layer.keys[role] = key;
    }
  }
  shift_list(layer);
  for (const Role role : {Role::mean, Role::variance, Role::gamma, Role::beta}) {
    if (!layer.has(role)) continue;
    if (layer.dtype.empty()) layer.dtype = tensors.dtype(layer.key(role));
    if (layer.channels == 0) layer.channels = channels_of(tensors, layer, role);
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
  for (const Role role : {Role::epsilon, Role::new_weight, Role::factor}) {
    found += layer.has(role) ? 1 : 0;
  }
  return found + (layer.has(Role::mean) ? 8 : 0) + (layer.has(Role::variance) ? 8 : 0);
}

/// Whether something beside the names of its tensors says that a layer may be one of that system:
/// the folder that it has there, or the order of a list.
inline bool is_plausible(const Tensors& tensors, const FoundBatchNorm& layer) {
  const Naming& naming = layer.naming;
  const std::string& prefix = layer.prefix.statistics;
  if (!naming.folder().empty() && !is_in_folder(prefix, naming.folder())) return false;
  if (naming.needs_epsilon() && !layer.has(Role::epsilon)) return false;
  if (naming.must_be_called() && !is_called_batch_norm(layer.prefix.parameters)) return false;
  if (!naming.is_list()) return true;
  if (naming.has_scale_layer()) {
    const bool is_three = layer.has(Role::factor) && !tensors.contains(prefix + "3") &&
                          vector_size(tensors.shape(layer.key(Role::factor))) == 1;
    return is_three && is_called_batch_norm(prefix);
  }
  if (!naming.folder().empty()) return is_called_batch_norm(parent_of(prefix));
  return tensors.metadata().count(metadata_key(prefix)) != 0;
}

/// The naming and the place that this library has saved a layer under; none in files of others.
inline std::optional<FoundBatchNorm> saved_layer(const Tensors& tensors,
                                                 const std::string& prefix) {
  const auto entry = tensors.metadata().find(metadata_key(prefix));
  if (entry == tensors.metadata().end()) return std::nullopt;
  // What is wrong with the metadata is said when the layer is loaded.
  const nlohmann::json object = nlohmann::json::parse(entry->second, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  const auto system = object.find("names");
  if (system == object.end() || !system->is_string()) return std::nullopt;
  for (const Naming& naming : Naming::all()) {
    if (naming.system() != system->get_ref<const std::string&>()) continue;
    const auto statistics = object.find("statistics");
    const bool is_pair = statistics != object.end() && statistics->is_string();
    const LayerPrefix place =
        is_pair ? LayerPrefix(prefix, statistics->get<std::string>()) : LayerPrefix(prefix);
    FoundBatchNorm layer = look_at(tensors, place, naming);
    const auto scale = object.find("scale");
    if (scale != object.end() && scale->is_boolean()) {
      assign_first_of_three(layer, scale->get<bool>(), std::nullopt);
    }
    return layer;
  }
  return std::nullopt;
}

/// The layer that the caller means by a prefix; in doubt the first system of Naming::known().
/// @param naming  the system, when the caller knows it
/// @return nothing when no tensor of a layer is there.
inline std::optional<FoundBatchNorm> locate(const Tensors& tensors, const LayerPrefix& prefix,
                                            const std::optional<Naming>& naming) {
  std::optional<FoundBatchNorm> best = saved_layer(tensors, prefix.parameters);
  if (best && (!naming || best->naming == *naming)) return best;
  best.reset();
  int most = 0;
  const std::vector<Naming> asked_for(naming ? 1 : 0, naming.value_or(Naming::known()[0]));
  for (const Naming& candidate : naming ? asked_for : Naming::known()) {
    for (const LayerPrefix& place : places_of(prefix, candidate)) {
      const bool is_empty = tensors.keys(place.statistics).empty() &&
                            (!place.is_pair() || tensors.keys(place.parameters).empty());
      if (is_empty) continue;
      FoundBatchNorm layer =
          look_at(tensors, with_scale_layer(tensors, place, candidate), candidate);
      if (is_of_optimizer(layer) || (!naming && !is_plausible(tensors, layer))) continue;
      // Of two systems with the same names, the one whose prefixes end like this.
      const std::string& end = place.statistics;
      const bool is_usual =
          end.empty() || candidate.separators().find(end.back()) != std::string::npos;
      const int score = amount(layer) == 0 ? 0 : 2 * amount(layer) + (is_usual ? 1 : 0);
      if (score <= most) continue;
      most = score;
      best = std::move(layer);
    }
  }
  return best;
}

/// Whether all vectors of a layer are vectors of one size, of real numbers.
inline bool has_shapes_of_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer) {
  for (const Role role : vector_roles) {
    if (!layer.has(role)) continue;
    const Tensor& tensor = tensors.tensor(layer.key(role));
    const bool is_moments = layer.naming.has_moments() && role >= Role::mean;
    const bool fits = is_moments ? moments_size(tensor.shape) == layer.channels
                                 : tensor.shape == std::vector<Index>{layer.channels};
    if (!fits || !is_real_dtype(tensor.dtype)) return false;
  }
  return layer.channels > 0;
}

inline bool is_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer) {
  if (is_of_optimizer(layer) || !is_plausible(tensors, layer)) return false;
  const bool shapes = has_shapes_of_batch_norm(tensors, layer);
  const bool both = layer.has(Role::mean) && layer.has(Role::variance);
  const bool is_called = is_called_batch_norm(layer.prefix.parameters);
  if (layer.naming.is_list()) {
    if (layer.naming.has_scale_layer()) return both && shapes;
    const bool is_long = tensors.contains(layer.prefix.parameters + "4");
    return shapes && both && !is_long && (layer.has(Role::gamma) || layer.naming.list_shrinks());
  }
  const bool is_affine = layer.has(Role::gamma) || layer.has(Role::beta);
  if (!is_affine && is_of_quantiser(layer.prefix.statistics)) return false;
  if (layer.has_statistics()) {
    return layer.naming.is_telling() || (both && shapes && (is_affine || is_called));
  }
  return shapes && layer.has(Role::gamma) && is_called;
}

/// The systems that have vectors of a name, by the name.
using SystemsByName = std::map<std::string, std::vector<std::size_t>>;

inline SystemsByName systems_by_name() {
  SystemsByName by_name;
  for (std::size_t system = 0; system < Naming::known().size(); ++system) {
    for (const Role role : vector_roles) {
      for (const std::string& name : Naming::known()[system].names(role)) {
        std::vector<std::size_t>& all = by_name[name];
        if (all.empty() || all.back() != system) all.push_back(system);
      }
    }
  }
  return by_name;
}

/// Whether a layer is one of an averaged copy of a network that is there itself: beside the copy,
/// with all layers of the network in the copy. A block of the network may be called ema, too.
/// @param networks  prefixes whose names do not speak of an average
inline bool is_averaged_copy(const std::string& prefix, const std::set<std::string>& networks,
                             const std::set<std::string>& copies) {
  const std::string name = name_in_average(prefix);
  if (name.empty()) return false;
  const std::string copy = prefix.substr(0, prefix.size() - name.size());
  const std::string around = parent_of(copy.substr(0, behind_average_word(prefix)));
  return std::any_of(networks.begin(), networks.end(), [&](const std::string& twin) {
    if (!ends_with_name(twin, name, "./:")) return false;
    const std::string network = twin.substr(0, twin.size() - name.size());
    if (network.compare(0, around.size(), around) != 0) return false;
    const auto begin = networks.lower_bound(network);
    return std::all_of(begin, networks.end(), [&](const std::string& layer) {
      return layer.compare(0, network.size(), network) != 0 ||
             copies.count(copy + layer.substr(network.size())) != 0;
    });
  });
}

/// Takes the layers of averaged copies of a network away, where the network itself is there, too.
inline void drop_averages(std::vector<FoundBatchNorm>& layers) {
  std::set<std::string> networks;
  std::set<std::string> copies;
  for (const FoundBatchNorm& layer : layers) {
    const std::string& prefix = layer.prefix.parameters;
    (name_in_average(prefix).empty() ? networks : copies).insert(prefix);
  }
  const auto is_copy = [&](const FoundBatchNorm& layer) {
    return is_averaged_copy(layer.prefix.parameters, networks, copies);
  };
  layers.erase(std::remove_if(layers.begin(), layers.end(), is_copy), layers.end());
}

/// Layers that may be there, by how much speaks for them: what this library has saved first, then
/// the most complete; in doubt the first of Naming::known().
using Candidates = std::map<std::tuple<int, std::size_t, std::string, std::string>, FoundBatchNorm>;

inline void add_candidate(Candidates& candidates, int surplus, std::size_t system,
                          FoundBatchNorm layer) {
  const auto order = std::make_tuple(-surplus - amount(layer), system, layer.prefix.parameters,
                                     layer.prefix.statistics);
  candidates.try_emplace(order, std::move(layer));
}

inline Candidates find_candidates(const Tensors& tensors) {
  constexpr int saved_here = 1000;
  Candidates candidates;
  const std::string beginning = metadata_key("");
  for (const auto& [key, value] : tensors.metadata()) {
    if (key.compare(0, beginning.size(), beginning) != 0) continue;
    auto layer = saved_layer(tensors, key.substr(beginning.size()));
    if (!layer || !layer->has_statistics()) continue;
    add_candidate(candidates, saved_here, 0, std::move(*layer));
  }
  const SystemsByName by_name = systems_by_name();
  for (const std::string& key : tensors.keys()) {
    for (std::size_t size = 0; size < key.size(); ++size) {
      const bool may_end = size == 0 || std::string("./_").find(key[size - 1]) != std::string::npos;
      const auto found = may_end ? by_name.find(key.substr(size)) : by_name.end();
      if (found == by_name.end()) continue;
      for (const std::size_t system : found->second) {
        const Naming& naming = Naming::known()[system];
        if (size > 0 && naming.separators().find(key[size - 1]) == std::string::npos) continue;
        const LayerPrefix place = place_before(key, size, naming);
        FoundBatchNorm layer = look_at(tensors, with_scale_layer(tensors, place, naming), naming);
        if (is_batch_norm(tensors, layer)) add_candidate(candidates, 0, system, std::move(layer));
      }
    }
  }
  return candidates;
}

}  // namespace detail

/// All batch norm layers of a checkpoint, found by the names and shapes of their tensors, sorted by
/// prefix with numbers in their order ("9." before "10.").
///
/// A layer is there when its running mean and variance are, under the names of one of the systems
/// of Naming::known(), as vectors of one size, with gamma or beta of that size, or called batch
/// norm. Some names of statistics are used for nothing else (PyTorch's and Keras' among them): with
/// these a layer is listed although a shape is wrong or one of the two is missing, and
/// examine_batch_norm says what is wrong with it. Without any statistics batch norm looks like
/// every other normalisation: such a layer is listed when the last part of its prefix says bn or
/// batch norm. A list of arrays is listed when something says in which order they stand (see
/// Naming). What an optimizer keeps for each parameter is no layer, nor is the averaged copy of one
/// that is there, nor what a quantiser has observed.
///
/// No tensor belongs to two layers, and no prefix is listed twice: it is listed under the system
/// that load_state takes. Errors: none; what is wrong is for load_state to say.
/// Cost: looks at names and shapes of the tensors only, no element is read.
inline std::vector<FoundBatchNorm> find_batch_norms(const Tensors& tensors) {
  detail::Candidates candidates = detail::find_candidates(tensors);
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
  detail::drop_averages(layers);
  std::map<std::pair<std::string, std::string>, FoundBatchNorm> sorted;
  for (FoundBatchNorm& layer : layers) {
    sorted.emplace(detail::natural_order(layer.prefix.parameters), std::move(layer));
  }
  layers.clear();
  for (auto& [order, layer] : sorted) layers.push_back(std::move(layer));
  return layers;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_BATCH_NORMS_HPP
