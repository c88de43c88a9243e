// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP

#include <batchnorm/io/checkpoint.hpp>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/checkpoint_names.hpp"
#include "support/fold_arguments.hpp"
#include "support/fold_hazards.hpp"
#include "support/given_pairs.hpp"
#include "support/planned_fold.hpp"
#include "support/weight_layer.hpp"

namespace example {

inline const std::string given = "given";

/// Finds for every batch norm the layer that it folds into. A fold is planned when nothing outside
/// of it is known to use what it changes, and what only names suggest also needs to have nothing
/// in the file that speaks against it.
class FoldPlanner {
 public:
  FoldPlanner(const Tensors& tensors, const std::vector<FoundBatchNorm>& norms,
              const FoldArguments& arguments)
      : tensors_(tensors),
        norms_(norms),
        arguments_(arguments),
        names_(tensors, norms, arguments),
        pairs_(names_, arguments),
        quantised_(arguments.unquantised ? "" : quantisation_tensor(tensors)) {}

  FoldPlan plan() {
    for (const auto& [first, second] : arguments_.pairs) plan_given(first, second);
    for (const FoundBatchNorm& norm : norms_) {
      if (names_.is_ambiguous(norm)) {
        leave(norm, "two batch norms are called like that");
      } else if (planned_.count(name_of(norm)) == 0) {
        plan_by_convention(norm);
      }
    }
    drop_folds_that_change_others();
    drop_doubts_of_the_left();
    return std::move(plan_);
  }

 private:
  void leave(const FoundBatchNorm& norm, const std::string& reason) {
    planned_.insert(name_of(norm));
    plan_.left.push_back({name_of(norm), reason});
  }

  // ---- one pair

  /// Plans `layer -> norm`, when the channels are right.
  void plan_behind(WeightLayer layer, const FoundBatchNorm& norm, const std::string& reason) {
    const std::string channels = std::to_string(norm.channels) + " channels";
    const std::string layout = doubt_of_layout(layer, norm);
    if (!layout.empty()) return leave(norm, layout);
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
    if (reason != given && (leave_for_order(norm) || leave_for_weights(layer, norm))) return;
    add(layer, norm, &PlannedFold::behind, reason);
  }

  static bool sounds_transposed(const std::string& name) {
    return name.find("transpose") != std::string::npos ||
           name.find("deconv") != std::string::npos || name.find("upconv") != std::string::npos;
  }

  bool leave_for_order(const FoundBatchNorm& norm) {
    const std::string doubt = doubt_of_order(tensors_, norm);
    if (doubt.empty()) return false;
    if (norm.channels < channels_for_certainty) {
      plan_.doubts.push_back({name_of(norm), doubt + ", which may be chance"});
      return false;
    }
    leave(norm, doubt + " (--pair when nothing does)");
    return true;
  }

  bool leave_for_weights(const WeightLayer& layer, const FoundBatchNorm& norm) {
    if (!quantised_.empty()) {
      leave(norm, quantised_ +
                      " says that weights are quantised when the network runs (--pair, "
                      "--unquantised)");
      return true;
    }
    const std::string doubt = doubt_of_weights(tensors_, layer);
    if (doubt.empty()) return false;
    leave(norm, doubt + " (--pair)");
    return true;
  }

  /// Plans `norm -> layer`: exact for linear layers, and convolutions that do not pad.
  void plan_front(const FoundBatchNorm& norm, WeightLayer layer, const std::string& reason) {
    const std::string layout = doubt_of_layout(layer, norm);
    if (!layout.empty()) return leave(norm, layout);
    if (layer.is_separable) {
      return leave(norm, layer.name() + " behind it is a separable convolution, with two kernels");
    }
    const auto flattened = arguments_.flattened.find(layer.name());
    if (flattened != arguments_.flattened.end() &&
        !layer.flatten(norm.channels, flattened->second)) {
      return leave(norm, layer.name() + " behind it has no whole number of inputs for each of " +
                             std::to_string(norm.channels) + " channels, or is not linear");
    }
    if (layer.in != norm.channels) return leave_for_inputs(norm, layer);
    if (!layer.is_linear() && arguments_.unpadded.count(layer.name()) == 0) {
      return leave(norm, layer.name() +
                             " behind it is a convolution, and whether it pads is not in the "
                             "file: with zeros around it no fold is exact; --unpadded " +
                             layer.name() + " when there are none");
    }
    if (reason != given && leave_for_weights(layer, norm)) return;
    add(layer, norm, &PlannedFold::front, reason);
  }

  void leave_for_inputs(const FoundBatchNorm& norm, const WeightLayer& layer) {
    const bool whole = layer.is_linear() && layer.in % norm.channels == 0;
    leave(norm, layer.name() + " behind it has " + std::to_string(layer.in) + " inputs for " +
                    std::to_string(norm.channels) + " channels" +
                    (whole ? ": when a flatten stands between them, --flattened " + layer.name() +
                                 "=nchw (PyTorch) or " + layer.name() + "=nhwc (Keras, Flax)"
                           : ""));
  }

  void add(const WeightLayer& layer, const FoundBatchNorm& norm,
           std::vector<FoundBatchNorm> PlannedFold::*side, const std::string& reason) {
    PlannedFold* fold = nullptr;
    for (PlannedFold& other : plan_.folds) {
      if (other.layer.weight == layer.weight) fold = &other;
    }
    if (fold != nullptr &&
        (!(fold->*side).empty() || layer.is_transposed || fold->layer.is_transposed)) {
      const auto& others = (fold->*side).empty() ? fold->norms() : fold->*side;
      return leave(norm, "it and " + name_of(others[0]) + " cannot both fold into " + layer.name());
    }
    planned_.insert(name_of(norm));
    if (fold == nullptr) {
      plan_.folds.push_back({layer, {}, {}, reason});
      fold = &plan_.folds.back();
    } else {
      fold->reason += ", " + reason;
      if (side == &PlannedFold::front) fold->layer = layer;
    }
    (fold->*side).push_back(norm);
  }

  /// Plans `first norm -> norm` behind the layer of the first.
  bool plan_chain(const FoundBatchNorm& before, const FoundBatchNorm& norm,
                  const std::string& reason) {
    for (PlannedFold& fold : plan_.folds) {
      if (fold.behind.empty() || name_of(fold.behind.back()) != name_of(before)) continue;
      if (before.channels != norm.channels) break;
      if (reason != given && leave_for_order(norm)) return true;
      planned_.insert(name_of(norm));
      fold.behind.push_back(norm);
      fold.reason += ", " + reason;
      return true;
    }
    return false;
  }

  // ---- the pairs of the command line

  void plan_given(const std::string& first, const std::string& second) {
    if (names_.find_norm(first) == nullptr) {
      plan_given_behind(*names_.find_layer(first), pairs_.norms_behind(first));
    } else if (names_.find_norm(second) == nullptr) {
      plan_given_front(pairs_.norms_before(second), *names_.find_layer(second));
    }
  }

  void plan_given_behind(const WeightLayer& layer,
                         const std::vector<const FoundBatchNorm*>& chain) {
    plan_behind(layer, *chain[0], given);
    for (std::size_t i = 1; i < chain.size(); ++i) {
      if (plan_chain(*chain[i - 1], *chain[i], given)) continue;
      leave(*chain[i], name_of(*chain[i - 1]) + " in front of it has " +
                           std::to_string(chain[i - 1]->channels) +
                           " channels, or is left as it is");
    }
  }

  void plan_given_front(const std::vector<const FoundBatchNorm*>& chain, const WeightLayer& layer) {
    plan_front(*chain.back(), layer, given);
    for (std::size_t i = chain.size() - 1; i-- > 0;) {
      PlannedFold* const fold = fold_with(name_of(*chain[i + 1]));
      if (fold == nullptr || chain[i]->channels != chain[i + 1]->channels) {
        leave(*chain[i], name_of(*chain[i + 1]) + " behind it has " +
                             std::to_string(chain[i + 1]->channels) +
                             " channels, or is left as it is");
        continue;
      }
      planned_.insert(name_of(*chain[i]));
      fold->front.insert(fold->front.begin(), *chain[i]);
      fold->reason += ", " + given;
    }
  }

  PlannedFold* fold_with(const std::string& norm) {
    for (PlannedFold& fold : plan_.folds) {
      if (fold.has(norm)) return &fold;
    }
    return nullptr;
  }

  // ---- what names say

  void plan_by_convention(const FoundBatchNorm& norm) {
    if (arguments_.unpaired.count(name_of(norm)) != 0) return leave(norm, "--unpaired");
    if (!norm.has_statistics()) return leave(norm, "it has no running statistics");
    if (CheckpointNames::neighbour(name_of(norm), 0)) return plan_by_number(norm);
    plan_by_name(norm);
  }

  void plan_by_number(const FoundBatchNorm& norm) {
    const std::string before = *CheckpointNames::neighbour(name_of(norm), -1);
    const std::string behind = *CheckpointNames::neighbour(name_of(norm), 1);
    const FoundBatchNorm* const norm_before = names_.find_norm(before);
    if (norm_before != nullptr) {
      if (plan_chain(*norm_before, norm, "by number")) return;
    } else if (const auto layer = names_.find_layer(before)) {
      return plan_behind(*layer, norm, "by number");
    }
    const bool another_norm = names_.find_norm(behind) != nullptr;
    if (const auto layer = names_.find_layer(behind); layer && !another_norm) {
      return plan_front(norm, *layer, "by number");
    }
    leave(norm, "neither " + before + " nor " + behind + " has weights");
  }

  void plan_by_name(const FoundBatchNorm& norm) {
    const std::vector<WeightLayer> layers = names_.layers_by_name(norm);
    if (layers.empty()) {
      return leave(norm, "no layer with weights is called like " + name_of(norm) + " (--pair)");
    }
    const WeightLayer& layer = layers[0];
    if (layers.size() > 1) {
      return leave(norm,
                   "it could follow " + layer.name() + " and " + layers[1].name() + " (--pair)");
    }
    if (is_counted(layer, norm)) {
      return leave(norm, "layers and norms are counted separately in such names, so that " +
                             layer.name() + " may be another one's (--pair)");
    }
    const std::string contradiction = names_.contradiction(layer, norm);
    if (!contradiction.empty()) {
      return leave(norm, "the shapes of " + contradiction + " say that " +
                             CheckpointNames::kind_of_pair(layer, norm) +
                             " are no pair in this order (--pair)");
    }
    plan_behind(layer, norm, "by name");
  }

  /// Whether the two have their names from counters: stem_norm follows stem whatever counts.
  static bool is_counted(const WeightLayer& layer, const FoundBatchNorm& norm) {
    const std::string own = split_leaf(name_of(norm)).second;
    const std::string other = split_leaf(layer.name()).second;
    const std::string system = norm.naming.system();
    return own.compare(0, other.size() + 1, other + "_") != 0 &&
           (is_automatic_name(own, system) || is_automatic_name(other, system));
  }

  // ---- what else reads the numbers that a fold changes

  /// A fold changes what its layer gives and takes away what its norms give, but for the last of
  /// them. Whatever else is fed by one of these would get something else than before, so that such
  /// a fold is not done at all.
  void drop_folds_that_change_others() {
    std::vector<PlannedFold> kept;
    for (const PlannedFold& fold : plan_.folds) {
      const std::string obstacle = obstacle_of(fold);
      if (obstacle.empty()) {
        kept.push_back(fold);
        continue;
      }
      for (const FoundBatchNorm& norm : fold.norms()) leave(norm, obstacle);
    }
    plan_.folds = std::move(kept);
  }

  void drop_doubts_of_the_left() {
    std::vector<NormAndText> kept;
    for (const NormAndText& doubt : plan_.doubts) {
      if (fold_with(doubt.norm) != nullptr) kept.push_back(doubt);
    }
    plan_.doubts = std::move(kept);
  }

  std::string obstacle_of(const PlannedFold& fold) const {
    std::set<std::string> changed;
    if (!fold.behind.empty()) changed.insert(fold.layer.name());
    for (const FoundBatchNorm& norm : fold.norms()) changed.insert(name_of(norm));
    if (!fold.behind.empty()) changed.erase(name_of(fold.behind.back()));
    for (const FoundBatchNorm& norm : norms_) {
      if (fold.has(name_of(norm))) continue;
      for (const std::string& feeder : feeders_of(norm)) {
        if (changed.count(feeder) == 0) continue;
        return feeder + " may feed " + name_of(norm) + ", too, which would change (--pair says " +
               "what feeds that, --unpaired " + name_of(norm) + " that it is not " + feeder + ")";
      }
    }
    const std::string other = front_obstacle(fold);
    return other.empty() ? certain_obstacle(tensors_, fold, norms_) : other;
  }

  std::vector<std::string> feeders_of(const FoundBatchNorm& norm) const {
    if (pairs_.has_feeder(name_of(norm))) return {pairs_.feeder_of(name_of(norm))};
    return names_.feeders_of(norm);
  }

  /// Another layer that the norm in front feeds by its number, or another norm that feeds the layer
  /// by its own.
  std::string front_obstacle(const PlannedFold& fold) const {
    if (fold.front.empty()) return "";
    const std::string last = name_of(fold.front.back());
    const auto behind = CheckpointNames::neighbour(last, 1);
    if (behind && *behind != fold.layer.name() && names_.find_layer(*behind)) {
      return last + " may feed " + *behind + ", too, which would change";
    }
    const auto before = CheckpointNames::neighbour(fold.layer.name(), -1);
    if (before && *before != last && names_.find_norm(*before) != nullptr) {
      return *before + " may feed " + fold.layer.name() + ", too, which would change";
    }
    return "";
  }

  const Tensors& tensors_;
  const std::vector<FoundBatchNorm>& norms_;
  const FoldArguments& arguments_;
  CheckpointNames names_;
  GivenPairs pairs_;
  std::string quantised_;
  std::set<std::string> planned_;
  FoldPlan plan_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_PLAN_HPP
