// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PLANNED_FOLD_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PLANNED_FOLD_HPP

#include <batchnorm/io/checkpoint.hpp>
#include <string>
#include <vector>

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

  bool has(const std::string& norm) const {
    for (const FoundBatchNorm& own : norms()) {
      if (name_of(own) == norm) return true;
    }
    return false;
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

/// What is to be said about a batch norm.
struct NormAndText {
  std::string norm;
  std::string text;
};

struct FoldPlan {
  std::vector<PlannedFold> folds;
  std::vector<NormAndText> left;    ///< batch norms that are not folded, and why
  std::vector<NormAndText> doubts;  ///< about some that are
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_PLANNED_FOLD_HPP
