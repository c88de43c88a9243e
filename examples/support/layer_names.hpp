// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace example {

/// The last part of a name and what stands before it.
inline std::pair<std::string, std::string> split_leaf(const std::string& name) {
  const std::size_t separator = name.find_last_of("./");
  const std::size_t leaf = separator == std::string::npos ? 0 : separator + 1;
  return {name.substr(0, leaf), name.substr(leaf)};
}

/// Names of layers that a norm of this name may follow: conv1 for bn1, stem for stem_bn.
inline std::vector<std::string> layer_names_for(const std::string& leaf) {
  std::vector<std::string> names;
  for (const std::string word : {"batch_normalization", "batch_norm", "batchnorm", "norm", "bn"}) {
    const std::size_t place = leaf.find(word);
    if (place == std::string::npos) continue;
    for (const char* layer : {"conv", "fc", "linear", "dense"}) {
      names.push_back(std::string(leaf).replace(place, word.size(), layer));
    }
    if (place > 0 && leaf[place - 1] == '_' && place + word.size() == leaf.size()) {
      names.push_back(leaf.substr(0, place - 1));
    }
    break;
  }
  return names;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP
