// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_CONFIG_HPP
#define BATCHNORM_IO_KERAS_CONFIG_HPP

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the JSON of a model of Keras says about its batch norms: epsilon, the weight of the old
// average, and which of gamma and beta there are. TensorFlow.js has the same `config`.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A batch norm of a model's JSON.
struct KerasBatchNorm {
  std::string name;    ///< of the layer, unique within its model
  std::string folder;  ///< where the archives of Keras 3 have its arrays: "layers/.../"
  Options options;
};

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

/// Walks through the layers of a model, and through models that are layers.
class KerasConfigReader {
 public:
  explicit KerasConfigReader(std::vector<KerasBatchNorm>& found) : found_(found) {}

  /// @param model   an object with class_name and config
  /// @param folder  that of the model in archives of Keras 3
  void read(const nlohmann::json& model, const std::string& folder, int depth = 0) {
    constexpr int deepest = 64;
    const nlohmann::json* const layers = layers_of(model);
    if (layers == nullptr || depth > deepest) return;
    std::map<std::string, int> used;
    for (const nlohmann::json& layer : *layers) {
      const std::string kind = json_text_in(layer, "class_name");
      // Folders are counted by class, in the order of the layers.
      std::string own = snake_case(kind);
      const int number = used[own]++;
      if (number > 0) own += "_" + std::to_string(number);
      const std::string inside = folder + "layers/" + own + "/";
      if (is_batch_norm_class(kind)) add(layer, inside);
      read(layer, inside, depth + 1);
    }
  }

 private:
  static bool is_batch_norm_class(const std::string& kind) {
    return kind == "BatchNormalization" || kind == "BatchNormalizationV1" ||
           kind == "BatchNormalizationV2" || kind == "SyncBatchNormalization";
  }

  /// Keras 1 has the list of layers of a Sequential right in `config`.
  static const nlohmann::json* layers_of(const nlohmann::json& model) {
    const nlohmann::json& config = json_field(model, "config");
    const nlohmann::json& layers = config.is_array() ? config : json_field(config, "layers");
    return layers.is_array() ? &layers : nullptr;
  }

  void add(const nlohmann::json& layer, const std::string& folder) {
    const nlohmann::json& config = json_field(layer, "config");
    const KerasNormConfig norm = read_keras_norm(config);
    // Without an epsilon nothing is known; the default of Keras has changed between versions.
    if (!norm.has_valid_epsilon()) return;
    found_.push_back({json_text_in(config, "name"), folder, norm.options()});
  }

  std::vector<KerasBatchNorm>& found_;
};

/// The batch norms of a model. Text that is no JSON of a model has none.
inline std::vector<KerasBatchNorm> read_keras_config(const std::string& json) {
  std::vector<KerasBatchNorm> found;
  const nlohmann::json model = nlohmann::json::parse(json, nullptr, false);
  if (!model.is_discarded()) KerasConfigReader(found).read(model, "");
  return found;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_KERAS_CONFIG_HPP
