// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_CONFIG_HPP
#define BATCHNORM_IO_KERAS_CONFIG_HPP

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the JSON of a model of Keras says about its batch norms: epsilon, the weight of the old
// average, and which of gamma and beta there are. TensorFlow.js has the same `config`.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A field of an object; null where there is none.
inline const nlohmann::json& json_field(const nlohmann::json& object, const char* name) {
  static const nlohmann::json none;
  if (!object.is_object()) return none;
  const auto entry = object.find(name);
  return entry == object.end() ? none : *entry;
}

/// A field that is a text; "" where there is none.
inline std::string json_text_in(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = json_field(object, name);
  return value.is_string() ? value.get_ref<const std::string&>() : std::string();
}

/// What the `config` of a batch norm says, as its numbers stand there.
struct KerasNormConfig {
  std::optional<double> epsilon;
  std::optional<double> momentum;  ///< the weight of the old average
  bool scale = true;
  bool shift = true;

  bool has_valid_epsilon() const { return epsilon && is_finite(*epsilon) && *epsilon >= 0.0; }
  bool has_valid_momentum() const { return momentum && *momentum >= 0.0 && *momentum <= 1.0; }

  /// The options of a layer whose epsilon is valid; without a valid momentum it has Keras' usual
  /// one.
  Options options() const {
    Options options = Options::keras();
    options.epsilon = *epsilon;
    if (has_valid_momentum()) options.running = RunningUpdate::keep_old(*momentum);
    options.scale = scale;
    options.shift = shift;
    return options;
  }
};

inline KerasNormConfig read_keras_norm(const nlohmann::json& config) {
  const auto number = [&](const char* name) {
    const nlohmann::json& value = json_field(config, name);
    return value.is_number() ? std::optional<double>(value.get<double>()) : std::nullopt;
  };
  const auto flag = [&](const char* name) { return json_field(config, name) != false; };
  return {number("epsilon"), number("momentum"), flag("scale"), flag("center")};
}

/// The name that Keras 3 makes of a class for a folder: BatchNormalization -> batch_normalization.
inline std::string snake_case(const std::string& name) {
  const auto is_upper = [](char letter) { return letter >= 'A' && letter <= 'Z'; };
  // Digits end no word: Conv2D becomes conv2d.
  const auto is_lower = [](char letter) { return letter >= 'a' && letter <= 'z'; };
  std::string snake;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool begins_word =
        i > 0 && is_upper(name[i]) &&
        (is_lower(name[i - 1]) || (i + 1 < name.size() && is_lower(name[i + 1])));
    if (begins_word && snake.back() != '_') snake += '_';
    snake += is_upper(name[i]) ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
  }
  return snake;
}

/// A batch norm of a model's JSON.
struct KerasBatchNorm {
  std::string name;                 ///< of the layer
  std::vector<std::string> around;  ///< names of the models and wrappers that it is part of
  bool is_wrapped = false;          ///< whether the last of these is a wrapper, which has one layer
  std::string folder;               ///< where archives of Keras 3 have its arrays: "layers/.../"
  KerasNormConfig config;

  Options options() const { return config.options(); }
};

/// Walks through all layers of a model: those in its list, in models that are layers, in wrappers
/// such as TimeDistributed, and in layers of somebody's own that have saved their parts. Keras 3
/// names the folder of a part by the attribute that holds it, and parts of a list by their class,
/// counted in the order of the list.
class KerasConfigReader {
 public:
  explicit KerasConfigReader(std::vector<KerasBatchNorm>& found) : found_(found) {}

  /// @param model  an object with class_name and config
  void read(const nlohmann::json& model) { read_parts(model, ""); }

 private:
  /// The class without the package that custom ones are registered under: "own>Block".
  static std::string class_of(const nlohmann::json& object) {
    const std::string name = json_text_in(object, "class_name");
    return name.substr(name.find_last_of('>') + 1);
  }

  static bool is_layer(const nlohmann::json& part) {
    return !json_text_in(part, "class_name").empty() && json_field(part, "config").is_structured();
  }

  void read_parts(const nlohmann::json& object, const std::string& folder) {
    constexpr std::size_t deepest = 64;
    if (around_.size() > deepest) return;
    const nlohmann::json& config = json_field(object, "config");
    // Keras 1 has the list of layers of a Sequential right in `config`.
    if (config.is_array()) return read_list(config, folder + "layers/");
    if (!config.is_object()) return;
    const bool is_bidirectional = class_of(object) == "Bidirectional";
    for (const auto& [key, part] : config.items()) {
      if (part.is_array()) read_list(part, folder + key + "/");
      if (!is_layer(part)) continue;
      const bool is_forward = is_bidirectional && key == "layer";
      read_layer(part, folder + (is_forward ? "forward_layer" : key) + "/", key == "layer");
    }
  }

  void read_list(const nlohmann::json& list, const std::string& folder) {
    std::map<std::string, int> used;
    for (const nlohmann::json& layer : list) {
      if (!is_layer(layer)) continue;
      std::string own = snake_case(class_of(layer));
      const int number = used[own]++;
      if (number > 0) own += "_" + std::to_string(number);
      read_layer(layer, folder + own + "/", false);
    }
  }

  void read_layer(const nlohmann::json& layer, const std::string& folder, bool is_wrapped) {
    const nlohmann::json& config = json_field(layer, "config");
    std::string name = json_text_in(config, "name");
    if (name.empty()) name = json_text_in(layer, "name");
    if (class_of(layer).find("BatchNormalization") != std::string::npos) {
      const KerasNormConfig norm = read_keras_norm(config);
      // Without an epsilon nothing is known; the default of Keras has changed between versions.
      if (norm.epsilon) found_.push_back({name, around_, is_wrapped, folder, norm});
      return;
    }
    around_.push_back(name);
    read_parts(layer, folder);
    around_.pop_back();
  }

  std::vector<KerasBatchNorm>& found_;
  std::vector<std::string> around_;
};

/// The batch norms of a model that have an epsilon, valid or not.
inline std::vector<KerasBatchNorm> keras_norms_of(const nlohmann::json& model) {
  std::vector<KerasBatchNorm> found;
  KerasConfigReader(found).read(model);
  return found;
}

/// The batch norms of a model whose epsilon is valid. Text that is no JSON of a model has none.
inline std::vector<KerasBatchNorm> read_keras_config(const std::string& json) {
  const nlohmann::json model = nlohmann::json::parse(json, nullptr, false);
  std::vector<KerasBatchNorm> found;
  if (model.is_discarded()) return found;
  for (KerasBatchNorm& norm : keras_norms_of(model)) {
    if (norm.config.has_valid_epsilon()) found.push_back(std::move(norm));
  }
  return found;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_KERAS_CONFIG_HPP
