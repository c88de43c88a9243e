// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_GIVEN_PAIRS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_GIVEN_PAIRS_HPP

#include <map>
#include <string>
#include <vector>

#include "support/checkpoint_names.hpp"

namespace example {

/// The pairs of the command line, put together to chains of batch norms behind a layer or in front
/// of one, in whatever order they were given.
class GivenPairs {
 public:
  /// @throws UsageError for a pair of something else, and where pairs contradict one another: one
  ///         output that goes to two places cannot be folded for one of them
  GivenPairs(const CheckpointNames& names, const FoldArguments& arguments) : names_(names) {
    for (const auto& [first, second] : arguments.pairs) add(first, second);
    for (const auto& [first, second] : arguments.pairs) check_ends(first, second);
  }

  bool has_feeder(const std::string& name) const { return before_.count(name) != 0; }
  std::string feeder_of(const std::string& name) const { return before_.at(name); }

  /// The norms that follow a layer or a norm, one behind the other.
  std::vector<const FoundBatchNorm*> norms_behind(std::string name) const {
    std::vector<const FoundBatchNorm*> chain;
    while (behind_.count(name) != 0) {
      name = behind_.at(name);
      chain.push_back(names_.find_norm(name));
    }
    return chain;
  }

  /// The norms in front of a layer, in the order of the network.
  std::vector<const FoundBatchNorm*> norms_before(std::string name) const {
    std::vector<const FoundBatchNorm*> chain;
    while (before_.count(name) != 0) {
      name = before_.at(name);
      chain.insert(chain.begin(), names_.find_norm(name));
    }
    return chain;
  }

 private:
  bool is_norm(const std::string& name) const { return names_.find_norm(name) != nullptr; }

  void add(const std::string& first, const std::string& second) {
    const bool known = (is_norm(first) || names_.find_layer(first)) &&
                       (is_norm(second) || names_.find_layer(second));
    if (!known || (!is_norm(first) && !is_norm(second))) fail(first, second);
    for (const std::string& name : {first, second}) {
      const FoundBatchNorm* const norm = names_.find_norm(name);
      if (norm == nullptr) continue;
      if (names_.is_ambiguous(*norm)) throw UsageError("two batch norms are called " + name);
      if (names_.find_layer(name)) throw UsageError(name + " is a batch norm and a layer");
    }
    if (before_.count(second) != 0) {
      throw UsageError("--pair names " + second + " twice: behind " + before_.at(second) +
                       " and behind " + first);
    }
    if (behind_.count(first) != 0) {
      throw UsageError("--pair names " + first + " twice: what it gives goes to " +
                       behind_.at(first) + " and to " + second +
                       ", and a fold for one of them changes what the other gets");
    }
    before_[second] = first;
    behind_[first] = second;
  }

  /// A chain needs one layer, at one of its ends.
  void check_ends(const std::string& first, const std::string& second) const {
    std::string begin = first, end = second;
    std::size_t steps = 0;
    while (is_norm(begin) && before_.count(begin) != 0 && ++steps <= before_.size()) {
      begin = before_.at(begin);
    }
    while (is_norm(end) && behind_.count(end) != 0 && ++steps <= 2 * before_.size()) {
      end = behind_.at(end);
    }
    if (is_norm(begin) && is_norm(end)) fail(first, second);
    if (!is_norm(begin) && !is_norm(end)) {
      const std::string norm = is_norm(first) ? first : second;
      throw UsageError("--pair names " + norm + " twice: between " + begin + " and " + end +
                       "; it folds into either, name one");
    }
  }

  [[noreturn]] static void fail(const std::string& first, const std::string& second) {
    throw UsageError("--pair " + first + "=" + second +
                     ": expected a batch norm and a layer with weights, or two batch norms one of "
                     "which has its layer");
  }

  const CheckpointNames& names_;
  std::map<std::string, std::string> before_, behind_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_GIVEN_PAIRS_HPP
