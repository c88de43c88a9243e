// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_PLACES_HPP
#define BATCHNORM_IO_PLACES_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/version.hpp"

// Where the two parts of a layer lie, for systems that keep parameters and statistics in two trees.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Where a layer may lie that the caller calls by one prefix: there, and for systems with two trees
/// at the same place of either.
inline std::vector<LayerPrefix> places_of(const LayerPrefix& prefix, const Naming& naming) {
  std::vector<LayerPrefix> places = {prefix};
  const std::string& parameters = naming.parameters_tree();
  const std::string& statistics = naming.statistics_tree();
  if (prefix.is_pair() || parameters.empty()) return places;
  const std::string separators = tree_separators + naming.separators();
  LayerPrefix trees = prefix;
  if (replace_part(trees.statistics, parameters, statistics, separators) ||
      replace_part(trees.parameters, statistics, parameters, separators)) {
    places.push_back(trees);
    return places;
  }
  for (const char* separator : {"/", ".", ":", "_"}) {
    if (separators.find(separator) == std::string::npos) continue;
    places.emplace_back(parameters + separator + prefix.parameters,
                        statistics + separator + prefix.statistics);
  }
  return places;
}

/// The place in which a tensor with that many letters of prefix may be part of a layer.
inline LayerPrefix place_before(const std::string& key, std::size_t size, const Naming& naming) {
  LayerPrefix place(key.substr(0, size));
  const std::string separators = tree_separators + naming.separators();
  replace_part(place.parameters, naming.statistics_tree(), naming.parameters_tree(), separators);
  replace_part(place.statistics, naming.parameters_tree(), naming.statistics_tree(), separators);
  return place;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_PLACES_HPP
