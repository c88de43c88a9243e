// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LEFT_OUT_HPP
#define BATCHNORM_IO_LEFT_OUT_HPP

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// What of a checkpoint looks like batch norm and is none, or is one that is not listed.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A kind of tensors or layers that find_batch_norms leaves out. Errors: none. Thread safety: a
/// plain value.
struct LeftOut {
  std::string what;       ///< "tensors of an optimizer"
  std::string reason;     ///< why they are no layers, or not listed
  std::size_t count = 0;  ///< number of these tensors or layers
  std::string example;    ///< the first of them, a name of the file

  /// One line for a person. The name from the file is made safe to print.
  std::string text() const {
    return detail::text("left out: ", count, " ", what, ", such as ", detail::in_quotes(example),
                        ": ", reason);
  }
};

namespace detail {

/// Sorts what belongs to no layer that was found.
class LeftOutSearch {
 public:
  LeftOutSearch(const Tensors& tensors, const std::vector<FoundBatchNorm>& found)
      : tensors_(tensors) {
    for (const FoundBatchNorm& layer : found) {
      for (const std::string& key : layer.keys) own_.insert(key);
      prefixes_.insert(layer.prefix.parameters);
      const std::size_t size = layer.prefix.statistics.size();
      if (layer.has(Role::mean)) leaves_.insert(layer.key(Role::mean).substr(size));
    }
  }

  std::vector<LeftOut> run() {
    for (const std::string& key : tensors_.keys()) {
      if (own_.count(key) != 0) continue;
      if (key.find("/ExponentialMovingAverage") != std::string::npos) {
        add(averages_, key);
      } else if (is_optimizer_slot(key)) {
        add(slots_, key);
      } else if (is_of_quantiser(key)) {
        add(quantisers_, key);
      } else {
        look_for_copy(key);
        look_for_list(key);
      }
    }
    std::vector<LeftOut> all;
    for (LeftOut* kind : {&copies_, &averages_, &slots_, &quantisers_, &lists_}) {
      if (kind->count > 0) all.push_back(std::move(*kind));
    }
    return all;
  }

 private:
  static void add(LeftOut& kind, const std::string& name) {
    if (kind.count++ == 0) kind.example = name;
  }

  /// The copy that a mean belongs to, when it is one of a layer that is listed. Latent diffusion
  /// takes the dots out of the names of its copy: "model_ema.blockbn1running_mean".
  void look_for_copy(const std::string& key) {
    for (const std::string& leaf : leaves_) {
      if (!ends_with(key, leaf)) continue;
      const std::string prefix = key.substr(0, key.size() - leaf.size());
      const std::string name = name_in_average(prefix);
      if (name.empty() || prefixes_.count(prefix) != 0) continue;
      const bool has_dots = name.find_last_of("./_:") == name.size() - 1;
      for (const std::string& twin : prefixes_) {
        const bool is_twin =
            has_dots ? ends_with_name(twin, name, "./:") : ends_with(without_dots(twin), name);
        if (is_twin) return add(copies_, prefix);
      }
    }
  }

  static bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
  }

  static std::string without_dots(std::string name) {
    name.erase(std::remove(name.begin(), name.end(), '.'), name.end());
    return name;
  }

  /// Whether a tensor is the first of four vectors of one size, which nothing calls batch norm.
  void look_for_list(const std::string& key) {
    if (!ends_with_name(key, "0", path_separators)) return;
    const FoundBatchNorm list =
        look_at(tensors_, key.substr(0, key.size() - 1), Naming::rtneural());
    const std::string& prefix = list.prefix.parameters;
    const bool is_list = list.has(Role::beta) && list.has(Role::variance) &&
                         !tensors_.contains(prefix + "4") && own_.count(prefix + "1") == 0;
    if (is_list && has_shapes_of_batch_norm(tensors_, list)) add(lists_, prefix);
  }

  const Tensors& tensors_;
  std::set<std::string> own_;
  std::set<std::string> prefixes_;
  std::set<std::string> leaves_;
  LeftOut copies_{"layers of an averaged copy of the network",
                  "those of the network itself are listed; load_state reads either", 0, ""};
  LeftOut averages_{"averages of single tensors", "a network may be meant to run with them", 0, ""};
  LeftOut slots_{"tensors of an optimizer", "numbers that it keeps for parameters", 0, ""};
  LeftOut quantisers_{"tensors of quantisers", "what they have observed, no statistics of a layer",
                      0, ""};
  LeftOut lists_{"lists of four vectors of one size",
                 "nothing says that they are batch norm, nor in which order; LoadOptions::named "
                 "can",
                 0, ""};
};

}  // namespace detail

/// What find_batch_norms has not listed although it looks like batch norm, by kinds: copies of the
/// network that are averaged over the training, averages of single tensors, what optimizers and
/// quantisers keep, lists of vectors that nothing calls batch norm. Empty when there is nothing of
/// all that. Errors: none. Cost: looks at names and shapes only, no element is read.
/// @param tensors, found  a checkpoint, and what find_batch_norms finds in it
inline std::vector<LeftOut> find_left_out(const Tensors& tensors,
                                          const std::vector<FoundBatchNorm>& found) {
  return detail::LeftOutSearch(tensors, found).run();
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LEFT_OUT_HPP
