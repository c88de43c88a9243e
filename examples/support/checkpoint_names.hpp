// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_NAMES_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_NAMES_HPP

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/fold_arguments.hpp"
#include "support/layer_names.hpp"
#include "support/planned_fold.hpp"
#include "support/weight_layer.hpp"

namespace example {

/// Layers and batch norms of a checkpoint by the names that people call them, and what the names
/// say about who feeds whom.
class CheckpointNames {
 public:
  /// @throws UsageError for a name on the command line that is in no file: it would go unnoticed
  CheckpointNames(const Tensors& tensors, const std::vector<FoundBatchNorm>& norms,
                  const FoldArguments& arguments)
      : tensors_(tensors), norms_(norms), arguments_(arguments) {
    for (const FoundBatchNorm& norm : norms) {
      const std::string& system = norm.naming.system();
      is_of_paddle_ = is_of_paddle_ || system == "Paddle" || system == "Paddle, static";
    }
    for (const auto& [name, epsilon] : arguments.epsilon_of) check_norm("--epsilon", name);
    for (const std::string& name : arguments.unpaired) check_norm("--unpaired", name);
    for (const std::string& name : arguments.unpadded) check_layer(name);
    for (const std::string& name : arguments.transposed) check_layer(name);
    for (const auto& [name, order] : arguments.flattened) check_layer(name);
    find_contradicted_names();
  }

  const FoundBatchNorm* find_norm(const std::string& name) const {
    for (const FoundBatchNorm& norm : norms_) {
      if (name_of(norm) == name) return &norm;
    }
    return nullptr;
  }

  /// Whether another norm of the file is called the same, as under "bn." and "bn/".
  bool is_ambiguous(const FoundBatchNorm& norm) const {
    const FoundBatchNorm* const first = find_norm(name_of(norm));
    for (const FoundBatchNorm& other : norms_) {
      if (&other != first && name_of(other) == name_of(norm)) return true;
    }
    return false;
  }

  std::optional<WeightLayer> find_layer(const std::string& name) const {
    for (const char* separator : {".", "/"}) {
      auto layer = find_weight_layer(tensors_, name + separator);
      if (layer && is_of_paddle_) layer->count_inputs_first(tensors_.shape(layer->weight));
      if (layer) return layer;
    }
    return std::nullopt;
  }

  /// The name with a number added to the one at its end; none where it does not end in one.
  static std::optional<std::string> neighbour(const std::string& name, int step) {
    const auto [parent, leaf] = split_leaf(name);
    const bool is_number = !leaf.empty() && leaf.size() < 9 &&
                           leaf.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) return std::nullopt;
    return parent + std::to_string(std::stoi(leaf) + step);
  }

  /// Layers whose names go with that of the norm. Those whose outputs fit, when there are any.
  std::vector<WeightLayer> layers_by_name(const FoundBatchNorm& norm) const {
    const auto [parent, leaf] = split_leaf(name_of(norm));
    std::vector<WeightLayer> all, fitting;
    for (const std::string& name : layer_names_for(leaf)) {
      const auto layer = find_layer(parent + name);
      if (!layer || find_norm(parent + name) != nullptr) continue;
      all.push_back(*layer);
      if (layer->out == norm.channels) fitting.push_back(*layer);
    }
    return fitting.empty() ? all : fitting;
  }

  /// The layers and norms that may feed a norm, as far as names and shapes tell. Counts for norms
  /// that are not folded, too: what feeds them must not change.
  std::vector<std::string> feeders_of(const FoundBatchNorm& norm) const {
    if (arguments_.unpaired.count(name_of(norm)) != 0) return {};
    std::vector<std::string> names;
    if (const auto before = neighbour(name_of(norm), -1)) {
      const auto layer = find_layer(*before);
      if (find_norm(*before) != nullptr || (layer && feeds(*layer, norm))) names.push_back(*before);
      return names;
    }
    for (const WeightLayer& layer : layers_by_name(norm)) {
      if (feeds(layer, norm)) names.push_back(layer.name());
    }
    return names;
  }

  /// The norm whose shapes say that such a pair of names is none in this order, "" when none does.
  std::string contradiction(const WeightLayer& layer, const FoundBatchNorm& norm) const {
    const auto found = contradicted_.find(kind_of_pair(layer, norm));
    return found == contradicted_.end() || layer.out != norm.channels ? "" : found->second;
  }

  static std::string kind_of_pair(const WeightLayer& layer, const FoundBatchNorm& norm) {
    return split_leaf(layer.name()).second + " and " + split_leaf(name_of(norm)).second;
  }

 private:
  void check_norm(const std::string& option, const std::string& name) const {
    if (find_norm(name) == nullptr) throw UsageError(option + ": no batch norm is called " + name);
  }

  void check_layer(const std::string& name) const {
    if (!find_layer(name)) throw UsageError("no layer with weights is called " + name);
  }

  bool feeds(WeightLayer layer, const FoundBatchNorm& norm) const {
    if (arguments_.transposed.count(layer.name()) != 0) return layer.transpose(norm.channels);
    return layer.out == norm.channels;
  }

  /// Where a norm stands in front of the layer of its name, in some blocks the shapes say so, and
  /// in others they do not: what one says counts for all of these names.
  void find_contradicted_names() {
    for (const FoundBatchNorm& norm : norms_) {
      for (const WeightLayer& layer : layers_by_name(norm)) {
        if (layer.out == norm.channels || arguments_.transposed.count(layer.name()) != 0) continue;
        contradicted_.emplace(kind_of_pair(layer, norm), name_of(norm));
      }
    }
  }

  const Tensors& tensors_;
  const std::vector<FoundBatchNorm>& norms_;
  const FoldArguments& arguments_;
  std::map<std::string, std::string> contradicted_;
  bool is_of_paddle_ = false;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_NAMES_HPP
