// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SCALE_LAYER_HPP
#define BATCHNORM_IO_SCALE_LAYER_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// Caffe has gamma and beta in a layer of their own, of the kind Scale, behind the one of the kind
// BatchNorm. Its networks call the two alike: bn1 and scale1, bn_conv1 and scale_conv1.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Names of scale layers that may go with the name of a batch norm.
inline std::vector<std::string> scale_names_for(const std::string& prefix) {
  constexpr const char* words[][2] = {
      {"batch_norm", "scale"}, {"batchnorm", "scale"}, {"BatchNorm", "Scale"},
      {"bn", "scale"},         {"bn", "sc"},           {"BN", "Scale"},
      {"Bn", "Scale"}};
  const std::size_t leaf = parent_of(prefix).size();
  std::vector<std::string> names;
  for (const auto& word : words) {
    const std::size_t place = prefix.find(word[0], leaf);
    if (place == std::string::npos) continue;
    names.push_back(std::string(prefix).replace(place, std::string(word[0]).size(), word[1]));
  }
  return names;
}

/// The place of a batch norm together with that of its scale layer, where exactly one list beside
/// it is called like that and has a scale, with or without a shift, for each of its channels.
inline LayerPrefix with_scale_layer(const Tensors& tensors, const LayerPrefix& place,
                                    const Naming& naming) {
  const std::string mean = place.statistics + naming.name(Role::mean);
  if (!naming.has_scale_layer() || place.is_pair() || !tensors.contains(mean)) return place;
  const Index channels = vector_size(tensors.shape(mean));
  const auto is_vector = [&](const std::string& key) {
    return tensors.contains(key) && vector_size(tensors.shape(key)) == channels;
  };
  std::vector<std::string> found;
  for (const std::string& name : scale_names_for(place.statistics)) {
    const std::string beta = name + naming.name(Role::beta);
    const bool fits = is_vector(name + naming.name(Role::gamma)) &&
                      (is_vector(beta) || !tensors.contains(beta)) &&
                      !tensors.contains(name + naming.name(Role::factor));
    if (fits) found.push_back(name);
  }
  return found.size() == 1 ? LayerPrefix(found[0], place.statistics) : place;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SCALE_LAYER_HPP
