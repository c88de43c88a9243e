// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP

#include <batchnorm/io/checkpoint.hpp>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/fold_arguments.hpp"
#include "support/layer_names.hpp"
#include "support/weight_layer.hpp"

namespace example {

using batchnorm::FoundBatchNorm;

inline std::string name_of(const FoundBatchNorm& norm) {
  return name_of_prefix(norm.prefix.parameters);
}

/// A layer and what is folded into it.
struct PlannedFold {
  WeightLayer layer;
  std::vector<FoundBatchNorm> front;   ///< batch norms in front of it, in the order of the network
  std::vector<FoundBatchNorm> behind;  ///< and behind it
  std::string reason;                  ///< why they belong together

  std::vector<FoundBatchNorm> norms() const {
    std::vector<FoundBatchNorm> all = front;
    all.insert(all.end(), behind.begin(), behind.end());
    return all;
  }

  /// "conv1 -> bn1", in the order of the network.
  std::string text() const {
    std::string chain;
    for (const FoundBatchNorm& norm : front) chain += name_of(norm) + " -> ";
    chain += layer.name();
    for (const FoundBatchNorm& norm : behind) chain += " -> " + name_of(norm);
    return chain;
  }
};

inline const std::string given = "given";

struct LeftUnfolded {
  std::string norm;
  std::string reason;
};

struct FoldPlan {
  std::vector<PlannedFold> folds;
  std::vector<LeftUnfolded> left;
};

/// Finds for every batch norm the layer that it folds into.
class FoldPlanner {
 public:
  FoldPlanner(const Tensors& tensors, const std::vector<FoundBatchNorm>& norms,
              const FoldArguments& arguments)
      : tensors_(tensors), norms_(norms), arguments_(arguments) {}

  FoldPlan plan() {
    check_names();
    find_contradicted_names();
    for (const auto& [first, second] : arguments_.pairs) plan_given(first, second);
    for (const FoundBatchNorm& norm : norms_) {
      if (planned_.count(name_of(norm)) == 0) plan_by_convention(norm);
    }
    return std::move(plan_);
  }

 private:
  const FoundBatchNorm* find_norm(const std::string& name) const {
    for (const FoundBatchNorm& norm : norms_) {
      if (name_of(norm) == name) return &norm;
    }
    return nullptr;
  }

  std::optional<WeightLayer> find_layer(const std::string& name) const {
    for (const char* separator : {".", "/"}) {
      if (const auto layer = find_weight_layer(tensors_, name + separator)) return layer;
    }
    return std::nullopt;
  }

  /// A name on the command line that is in no file would go unnoticed otherwise.
  void check_names() const {
    for (const auto& [name, epsilon] : arguments_.epsilon_of) {
      if (find_norm(name) == nullptr)
        throw UsageError("--epsilon: no batch norm is called " + name);
    }
    for (const auto* names : {&arguments_.unpadded, &arguments_.transposed}) {
      for (const std::string& name : *names) {
        if (!find_layer(name)) throw UsageError("no layer with weights is called " + name);
      }
    }
  }

  void leave(const FoundBatchNorm& norm, const std::string& reason) {
    planned_.insert(name_of(norm));
    plan_.left.push_back({name_of(norm), reason});
  }

  /// Plans `layer -> norm`, when the channels are right.
  void plan_behind(WeightLayer layer, const FoundBatchNorm& norm, const std::string& reason) {
    const std::string channels = std::to_string(norm.channels) + " channels";
    const bool transposed = arguments_.transposed.count(layer.name()) != 0;
    if (transposed && !layer.transpose(norm.channels)) {
      return leave(norm, layer.name() + " is no transposed convolution to " + channels);
    }
    if (layer.out != norm.channels) {
      const bool other_side = layer.in == norm.channels;
      return leave(norm,
                   layer.name() + " has " + std::to_string(layer.out) + " outputs for " + channels +
                       (other_side ? ", which are its inputs: the norm may stand in front, or "
                                     "the layer may be transposed (--pair, --transposed)"
                                   : ""));
    }
    if (!transposed && reason != given && sounds_transposed(layer.name())) {
      return leave(norm, layer.name() + " may be a transposed convolution: --transposed " +
                             layer.name() + " when it is");
    }
    add(layer, norm, &PlannedFold::behind, reason);
  }

  static bool sounds_transposed(const std::string& name) {
    return name.find("transpose") != std::string::npos ||
           name.find("deconv") != std::string::npos || name.find("upconv") != std::string::npos;
  }

  /// Plans `norm -> layer`: exact for linear layers, and convolutions that do not pad.
  void plan_front(const FoundBatchNorm& norm, const WeightLayer& layer, const std::string& reason) {
    if (layer.in != norm.channels) {
      return leave(norm, layer.name() + " behind it has " + std::to_string(layer.in) +
                             " inputs for " + std::to_string(norm.channels) + " channels");
    }
    if (!layer.is_linear() && arguments_.unpadded.count(layer.name()) == 0) {
      return leave(norm, layer.name() +
                             " behind it is a convolution, and whether it pads is not in the "
                             "file: with zeros around it no fold is exact; --unpadded " +
                             layer.name() + " when there are none");
    }
    add(layer, norm, &PlannedFold::front, reason);
  }

  void add(const WeightLayer& layer, const FoundBatchNorm& norm,
           std::vector<FoundBatchNorm> PlannedFold::*side, const std::string& reason) {
    PlannedFold* fold = nullptr;
    for (PlannedFold& other : plan_.folds) {
      if (other.layer.weight == layer.weight) fold = &other;
    }
    if (fold != nullptr &&
        (!(fold->*side).empty() || layer.is_transposed || fold->layer.is_transposed)) {
      return leave(norm, layer.name() + " belongs to " + name_of(fold->norms()[0]) + " already");
    }
    planned_.insert(name_of(norm));
    if (fold == nullptr) {
      plan_.folds.push_back({layer, {}, {}, reason});
      fold = &plan_.folds.back();
    } else {
      fold->reason += ", " + reason;
    }
    (fold->*side).push_back(norm);
  }

  /// Plans `first norm -> norm` behind the layer of the first.
  bool plan_chain(const FoundBatchNorm& before, const FoundBatchNorm& norm,
                  const std::string& reason) {
    for (PlannedFold& fold : plan_.folds) {
      if (fold.behind.empty() || name_of(fold.behind.back()) != name_of(before)) continue;
      if (before.channels != norm.channels) break;
      planned_.insert(name_of(norm));
      fold.behind.push_back(norm);
      fold.reason += ", " + reason;
      return true;
    }
    return false;
  }

  void plan_given(const std::string& first, const std::string& second) {
    const FoundBatchNorm* const norm_first = find_norm(first);
    const FoundBatchNorm* const norm_second = find_norm(second);
    const auto layer = find_layer(norm_second != nullptr ? first : second);
    for (const FoundBatchNorm* norm :
         {norm_second, norm_second == nullptr ? norm_first : nullptr}) {
      if (norm != nullptr && planned_.count(name_of(*norm)) != 0) {
        throw UsageError("--pair names " + name_of(*norm) + " twice");
      }
    }
    if (norm_second != nullptr && layer) return plan_behind(*layer, *norm_second, given);
    if (norm_first != nullptr && norm_second != nullptr &&
        plan_chain(*norm_first, *norm_second, given)) {
      return;
    }
    if (norm_first != nullptr && layer) return plan_front(*norm_first, *layer, given);
    throw UsageError("--pair " + first + "=" + second +
                     ": expected a batch norm and a layer with weights, or two batch norms the "
                     "first of which has its layer");
  }

  void plan_by_convention(const FoundBatchNorm& norm) {
    if (!norm.has_statistics()) return leave(norm, "it has no running statistics");
    const auto [parent, leaf] = split_leaf(name_of(norm));
    const bool is_number = !leaf.empty() && leaf.size() < 9 &&
                           leaf.find_first_not_of("0123456789") == std::string::npos;
    if (is_number) return plan_by_number(norm, parent, std::stoi(leaf));
    plan_by_name(norm, parent, leaf);
  }

  void plan_by_number(const FoundBatchNorm& norm, const std::string& parent, int number) {
    const std::string before = parent + std::to_string(number - 1);
    const std::string behind = parent + std::to_string(number + 1);
    const FoundBatchNorm* const norm_before = find_norm(before);
    if (norm_before != nullptr) {
      if (plan_chain(*norm_before, norm, "by number")) return;
    } else if (const auto layer = find_layer(before)) {
      return plan_behind(*layer, norm, "by number");
    }
    const bool another_norm = find_norm(behind) != nullptr;
    if (const auto layer = find_layer(behind); layer && !another_norm) {
      return plan_front(norm, *layer, "by number");
    }
    leave(norm, "neither " + before + " nor " + behind + " has weights");
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

  static std::string kind_of_pair(const WeightLayer& layer, const FoundBatchNorm& norm) {
    return split_leaf(layer.name()).second + " and " + split_leaf(name_of(norm)).second;
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

  void plan_by_name(const FoundBatchNorm& norm, const std::string& parent,
                    const std::string& leaf) {
    const std::vector<WeightLayer> layers = layers_by_name(norm);
    if (layers.empty()) {
      return leave(norm, "no layer with weights is called like " + parent + leaf + " (--pair)");
    }
    if (layers.size() > 1) {
      return leave(
          norm, "it could follow " + layers[0].name() + " and " + layers[1].name() + " (--pair)");
    }
    const auto contradiction = contradicted_.find(kind_of_pair(layers[0], norm));
    if (contradiction != contradicted_.end() && layers[0].out == norm.channels) {
      return leave(norm, "the shapes of " + contradiction->second + " say that " +
                             contradiction->first + " are no pair in this order (--pair)");
    }
    plan_behind(layers[0], norm, "by name");
  }

  const Tensors& tensors_;
  const std::vector<FoundBatchNorm>& norms_;
  const FoldArguments& arguments_;
  std::map<std::string, std::string> contradicted_;
  std::set<std::string> planned_;
  FoldPlan plan_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP
