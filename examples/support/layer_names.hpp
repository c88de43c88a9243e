// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP

#include <cctype>
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

inline std::string lower_case(std::string text) {
  for (char& letter : text) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return text;
}

/// Names of layers that a norm of this name may follow: conv1 for bn1, stem for stem_bn, Conv1 for
/// bn_Conv1. The word for the norm is found in capitals, too: conv1 for conv1_BN.
inline std::vector<std::string> layer_names_for(const std::string& leaf) {
  std::vector<std::string> names;
  const std::string lower = lower_case(leaf);
  for (const std::string word : {"batch_normalization", "batch_norm", "batchnorm", "norm", "bn"}) {
    const std::size_t place = lower.find(word);
    if (place == std::string::npos) continue;
    const std::size_t end = place + word.size();
    const bool is_capital = lower[place] != leaf[place];
    for (const std::string layer : {"conv", "fc", "linear", "dense"}) {
      names.push_back(std::string(leaf).replace(place, word.size(), layer));
      if (!is_capital) continue;
      std::string capital = layer;
      capital[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(layer[0])));
      names.push_back(std::string(leaf).replace(place, word.size(), capital));
    }
    if (place > 0 && leaf[place - 1] == '_' && end == leaf.size()) {
      names.push_back(leaf.substr(0, place - 1));
    }
    if (place == 0 && end + 1 < leaf.size() && leaf[end] == '_') {
      const std::string rest = leaf.substr(end + 1);
      // batch_normalization_3 is a number among norms.
      if (rest.find_first_not_of("0123456789") != std::string::npos) names.push_back(rest);
    }
    break;
  }
  return names;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_LAYER_NAMES_HPP
