// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_PREFIX_HPP
#define BATCHNORM_IO_LAYER_PREFIX_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "batchnorm/io/systems.hpp"
#include "batchnorm/version.hpp"

// What a layer is called in a file, and what can be done with such names.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a layer is called: all that stands before the names, with the separator behind it, such as
/// "1." or "encoder/bn3/". Parameters and statistics may lie in different places. Errors: none.
/// Thread safety: a plain value.
struct LayerPrefix {
  std::string parameters;  ///< before gamma and beta
  std::string statistics;  ///< before mean, variance and counter

  /// One prefix for both.
  LayerPrefix(std::string both) : parameters(both), statistics(std::move(both)) {}
  /// The same from a literal, for both.
  LayerPrefix(const char* both) : LayerPrefix(std::string(both)) {}
  /// A pair: of_parameters and of_statistics.
  LayerPrefix(std::string of_parameters, std::string of_statistics)
      : parameters(std::move(of_parameters)), statistics(std::move(of_statistics)) {}

  /// The one that a tensor of that role lies under.
  const std::string& of(Role role) const {
    const bool is_parameter = role == Role::gamma || role == Role::beta || role == Role::input_bias;
    return is_parameter ? parameters : statistics;
  }
  /// Whether they differ.
  bool is_pair() const { return parameters != statistics; }

  /// Whether both are the same.
  friend bool operator==(const LayerPrefix& a, const LayerPrefix& b) {
    return a.parameters == b.parameters && a.statistics == b.statistics;
  }
  /// Whether they differ.
  friend bool operator!=(const LayerPrefix& a, const LayerPrefix& b) { return !(a == b); }
};

namespace detail {

inline constexpr const char* path_separators = "./";

/// What may end a part of a path: MXNet has a colon behind the name of a tree.
inline constexpr const char* tree_separators = "./:";

/// Where the last part of a name begins: behind the last separator.
inline std::size_t start_of_leaf(const std::string& key) {
  const std::size_t separator = key.find_last_of(path_separators);
  return separator == std::string::npos ? 0 : separator + 1;
}

/// Replaces the first part of a path that is exactly `from`.
/// @return whether there is one.
inline bool replace_part(std::string& path, const std::string& from, const std::string& to,
                         const std::string& separators = tree_separators) {
  if (from.empty()) return false;
  for (std::size_t begin = 0; begin < path.size();) {
    std::size_t end = path.find_first_of(separators, begin);
    if (end == std::string::npos) end = path.size();
    if (path.compare(begin, end - begin, from) == 0) {
      path.replace(begin, end - begin, to);
      return true;
    }
    begin = end + 1;
  }
  return false;
}

/// A prefix without the separators that end it.
inline std::string without_end(const std::string& prefix) {
  return prefix.substr(0, prefix.find_last_not_of(path_separators) + 1);
}

/// What stands in front of the last part of a prefix.
inline std::string parent_of(const std::string& prefix) {
  return prefix.substr(0, start_of_leaf(without_end(prefix)));
}

/// Whether the last part of a prefix says batch norm: bn1, conv_bn, BatchNorm_0,
/// batch_normalization_3. Not subnet.
inline bool is_called_batch_norm(const std::string& prefix) {
  const std::string path = without_end(prefix);
  std::string word;
  std::string letters;
  for (char letter : path.substr(start_of_leaf(path)) + " ") {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    if (letter >= 'a' && letter <= 'z') {
      word += letter;
      letters += letter;
    } else {
      if (word == "bn") return true;
      word.clear();
    }
  }
  return letters.find("batchnorm") != std::string::npos;
}

/// Whether the last part of a prefix begins with a word.
inline bool is_in_folder(const std::string& prefix, const std::string& word) {
  return prefix.compare(start_of_leaf(without_end(prefix)), word.size(), word) == 0;
}

/// Whether a key consists of a prefix, which one of the separators ends, and a name.
inline bool ends_with_name(const std::string& key, const std::string& name,
                           const std::string& separators) {
  if (key.size() < name.size()) return false;
  const std::size_t start = key.size() - name.size();
  if (key.compare(start, name.size(), name) != 0) return false;
  return start == 0 || separators.find(key[start - 1]) != std::string::npos;
}

/// A text for each name whose order is that of names in which numbers count as numbers: a number
/// follows as many nines as it has digits, zeros in front aside, and a zero.
inline std::string natural_key(const std::string& name) {
  constexpr const char* digits = "0123456789";
  std::string key;
  for (std::size_t begin = 0;;) {
    const std::size_t number = (std::min)(name.find_first_of(digits, begin), name.size());
    key.append(name, begin, number - begin);
    if (number == name.size()) return key;
    const std::size_t end = (std::min)(name.find_first_not_of(digits, number), name.size());
    const std::size_t first = (std::min)(name.find_first_not_of('0', number), end - 1);
    key.append(end - first, '9').append("0").append(name, first, end - first);
    begin = end;
  }
}

/// What names are sorted by when numbers in them count as numbers, "9." before "10."; made once for
/// each name, which may be as long as a header.
inline std::pair<std::string, std::string> natural_order(const std::string& name) {
  return {natural_key(name), name};
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_PREFIX_HPP
