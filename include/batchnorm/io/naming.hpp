// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_NAMING_HPP
#define BATCHNORM_IO_NAMING_HPP

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the tensors of a batch norm layer are called: by the system that saved them, behind the
// prefix of the layer.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a tensor of a batch norm layer is.
enum class Role {
  gamma,     ///< scale, one number per channel
  beta,      ///< shift, one number per channel
  mean,      ///< running mean, one number per channel
  variance,  ///< running variance, one number per channel
  counter    ///< minibatches seen, a single whole number
};

inline constexpr std::size_t roles = 5;

/// The names that a system gives to the tensors of a layer. A plain value; the makers are those of
/// the systems, from their source code:
///
///                gamma    beta   mean                 variance                counter
///     pytorch    weight   bias   running_mean         running_var             num_batches_tracked
///     keras      gamma    beta   moving_mean          moving_variance         -
///     flax       scale    bias   mean                 var                     -
///     onnx       scale    B      input_mean or mean   input_var or var        -
///     rtneural   0        1      2                    3                       -
///
/// Flax keeps parameters and statistics in two trees, `params` and `batch_stats`. TensorFlow's :0
/// behind Keras' names is read, too. RTNeural has a list of arrays instead of names; a layer
/// without gamma and beta has the arrays 0 (mean) and 1 (variance), and one of three arrays is
/// refused, because nobody can tell which is missing. Other systems have other orders, so a list is
/// a layer only when the caller names the system, when this library has saved it, or when it is the
/// folder `vars` of a layer of Keras 3 that is called batch norm.
class Naming {
 public:
  using Names = std::vector<std::string>;

  static Naming pytorch() {
    Naming naming(
        "PyTorch",
        {{{"weight"}, {"bias"}, {"running_mean"}, {"running_var"}, {"num_batches_tracked"}}},
        Options::pytorch());
    naming.is_telling_ = true;
    return naming;
  }
  static Naming keras() {
    Naming naming("Keras",
                  {{{"gamma", "gamma:0"},
                    {"beta", "beta:0"},
                    {"moving_mean", "moving_mean:0"},
                    {"moving_variance", "moving_variance:0"},
                    {}}},
                  Options::keras());
    naming.is_telling_ = true;
    return naming;
  }
  static Naming flax() {
    Naming naming("Flax", {{{"scale"}, {"bias"}, {"mean"}, {"var"}, {}}}, Options::flax());
    naming.parameters_tree_ = "params";
    naming.statistics_tree_ = "batch_stats";
    return naming;
  }
  static Naming onnx() {
    return Naming("ONNX", {{{"scale"}, {"B"}, {"input_mean", "mean"}, {"input_var", "var"}, {}}},
                  Options::onnx());
  }
  static Naming rtneural() {
    Naming naming("RTNeural", {{{"0"}, {"1"}, {"2"}, {"3"}, {}}}, Options::keras());
    naming.is_list_ = true;
    return naming;
  }

  /// The systems in the order in which they are tried.
  static std::vector<Naming> known() { return {pytorch(), keras(), flax(), onnx(), rtneural()}; }

  /// The names of another system.
  /// @param system   what reports call it
  /// @param names    for each Role the names that are read; the first is written, none is allowed
  /// @param options  what its layers do where a file says nothing; its epsilon is never used
  Naming(std::string system, std::array<Names, roles> names, const Options& options = {})
      : system_(std::move(system)), names_(std::move(names)), options_(options) {}

  const std::string& system() const { return system_; }
  const Names& names(Role role) const { return names_[static_cast<std::size_t>(role)]; }

  /// The name that is written; empty when the system has no such tensor.
  std::string name(Role role) const { return names(role).empty() ? "" : names(role).front(); }

  /// Update rule and variance estimator of that system's layers. Not its epsilon: systems have
  /// defaults, but every layer may have another one.
  const Options& options() const { return options_; }

  /// The first part of the path of parameters and statistics, where these are two trees.
  const std::string& parameters_tree() const { return parameters_tree_; }
  const std::string& statistics_tree() const { return statistics_tree_; }

  /// Whether the tensors are a list, told apart by their number alone.
  bool is_list() const { return is_list_; }

  /// Whether nothing else than statistics of batch norm has such names, so that a layer of which
  /// something is wrong is one all the same.
  bool is_telling() const { return is_telling_; }

  friend bool operator==(const Naming& a, const Naming& b) {
    return a.system_ == b.system_ && a.names_ == b.names_;
  }
  friend bool operator!=(const Naming& a, const Naming& b) { return !(a == b); }

 private:
  std::string system_;
  std::array<Names, roles> names_;
  Options options_;
  std::string parameters_tree_;
  std::string statistics_tree_;
  bool is_list_ = false;
  bool is_telling_ = false;
};

/// What a layer is called: all that stands before the names, with the separator behind it, such as
/// "1." or "encoder/bn3/". Parameters and statistics may lie in different places.
struct LayerPrefix {
  std::string parameters;  ///< before gamma and beta
  std::string statistics;  ///< before mean, variance and counter

  LayerPrefix(std::string both) : parameters(both), statistics(std::move(both)) {}
  LayerPrefix(const char* both) : LayerPrefix(std::string(both)) {}
  LayerPrefix(std::string of_parameters, std::string of_statistics)
      : parameters(std::move(of_parameters)), statistics(std::move(of_statistics)) {}

  const std::string& of(Role role) const {
    return role == Role::gamma || role == Role::beta ? parameters : statistics;
  }
  bool is_pair() const { return parameters != statistics; }

  friend bool operator==(const LayerPrefix& a, const LayerPrefix& b) {
    return a.parameters == b.parameters && a.statistics == b.statistics;
  }
  friend bool operator!=(const LayerPrefix& a, const LayerPrefix& b) { return !(a == b); }
};

namespace detail {

inline constexpr const char* path_separators = "./";

/// Where the last part of a name begins: behind the last separator.
inline std::size_t start_of_leaf(const std::string& key) {
  const std::size_t separator = key.find_last_of(path_separators);
  return separator == std::string::npos ? 0 : separator + 1;
}

/// Replaces the first part of a path that is exactly `from`.
/// @return whether there is one.
inline bool replace_part(std::string& path, const std::string& from, const std::string& to) {
  for (std::size_t begin = 0; begin < path.size();) {
    std::size_t end = path.find_first_of(path_separators, begin);
    if (end == std::string::npos) end = path.size();
    if (path.compare(begin, end - begin, from) == 0) {
      path.replace(begin, end - begin, to);
      return true;
    }
    begin = end + 1;
  }
  return false;
}

/// Where a layer may lie that the caller calls by one prefix: there, and for systems with two trees
/// at the same place of either.
inline std::vector<LayerPrefix> places_of(const LayerPrefix& prefix, const Naming& naming) {
  std::vector<LayerPrefix> places = {prefix};
  const std::string& parameters = naming.parameters_tree();
  const std::string& statistics = naming.statistics_tree();
  if (prefix.is_pair() || parameters.empty()) return places;
  LayerPrefix trees = prefix;
  if (replace_part(trees.statistics, parameters, statistics) ||
      replace_part(trees.parameters, statistics, parameters)) {
    places.push_back(trees);
    return places;
  }
  for (const char* separator : {"/", "."}) {
    places.emplace_back(parameters + separator + prefix.parameters,
                        statistics + separator + prefix.statistics);
  }
  return places;
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

#endif  // BATCHNORM_IO_NAMING_HPP
