// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_PREFIX_HPP
#define BATCHNORM_IO_LAYER_PREFIX_HPP

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

/// Whether the last part of a prefix says batch norm: bn1, conv_bn, BatchNorm_0,
/// batch_normalization_3. Not subnet.
inline bool is_called_batch_norm(const std::string& prefix) {
  const std::size_t end = prefix.find_last_not_of(path_separators) + 1;
  std::string word;
  std::string letters;
  for (std::size_t i = start_of_leaf(prefix.substr(0, end)); i <= end; ++i) {
    char letter = i < end ? prefix[i] : ' ';
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
  const std::size_t end = prefix.find_last_not_of(path_separators) + 1;
  const std::size_t leaf = start_of_leaf(prefix.substr(0, end));
  return prefix.compare(leaf, word.size(), word) == 0;
}

/// What stands in front of the last part of a prefix.
inline std::string parent_of(const std::string& prefix) {
  const std::size_t end = prefix.find_last_not_of(path_separators) + 1;
  return prefix.substr(0, start_of_leaf(prefix.substr(0, end)));
}

/// Whether a key consists of a prefix, which one of the separators ends, and a name.
inline bool ends_with_name(const std::string& key, const std::string& name,
                           const std::string& separators) {
  if (key.size() < name.size()) return false;
  const std::size_t start = key.size() - name.size();
  if (key.compare(start, name.size(), name) != 0) return false;
  return start == 0 || separators.find(key[start - 1]) != std::string::npos;
}

/// Whether one name comes before another when numbers in them count as numbers: "9." before "10.".
inline bool natural_less(const std::string& a, const std::string& b) {
  const auto is_digit = [](char letter) { return letter >= '0' && letter <= '9'; };
  const auto number_end = [&](const std::string& name, std::size_t begin) {
    while (begin < name.size() && is_digit(name[begin])) ++begin;
    return begin;
  };
  std::size_t i = 0;
  std::size_t k = 0;
  while (i < a.size() && k < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[k])) {
      if (a[i] != b[k]) return a[i] < b[k];
      ++i, ++k;
      continue;
    }
    while (i + 1 < a.size() && a[i] == '0' && is_digit(a[i + 1])) ++i;
    while (k + 1 < b.size() && b[k] == '0' && is_digit(b[k + 1])) ++k;
    const std::size_t a_end = number_end(a, i);
    const std::size_t b_end = number_end(b, k);
    if (a_end - i != b_end - k) return a_end - i < b_end - k;
    const int order = a.compare(i, a_end - i, b, k, b_end - k);
    if (order != 0) return order < 0;
    i = a_end;
    k = b_end;
  }
  if (i < a.size() || k < b.size()) return i == a.size();
  return a < b;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_PREFIX_HPP
