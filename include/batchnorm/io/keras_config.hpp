// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_CONFIG_HPP
#define BATCHNORM_IO_KERAS_CONFIG_HPP

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the JSON of a model of Keras says about its batch norms: epsilon, the weight of the old
// average, and which of gamma and beta there are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A batch norm of a model's JSON.
struct KerasBatchNorm {
  std::string name;    ///< of the layer, unique within its model
  std::string folder;  ///< where the archives of Keras 3 have its arrays: "layers/.../"
  Options options;
};

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
      const std::string kind = text_in(layer, "class_name");
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

  static std::string text_in(const nlohmann::json& object, const char* field) {
    if (!object.is_object()) return "";
    const auto found = object.find(field);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  }

  /// Keras 1 has the list of layers of a Sequential right in `config`.
  static const nlohmann::json* layers_of(const nlohmann::json& model) {
    if (!model.is_object()) return nullptr;
    const auto config = model.find("config");
    if (config == model.end()) return nullptr;
    if (config->is_array()) return &*config;
    if (!config->is_object()) return nullptr;
    const auto layers = config->find("layers");
    return layers != config->end() && layers->is_array() ? &*layers : nullptr;
  }

  void add(const nlohmann::json& layer, const std::string& folder) {
    const auto entry = layer.find("config");
    if (entry == layer.end() || !entry->is_object()) return;
    const nlohmann::json& config = *entry;
    KerasBatchNorm norm{text_in(config, "name"), folder, Options::keras()};
    double momentum = 0.99;
    // Without an epsilon nothing is known; the default of Keras has changed between versions.
    if (!read_number(config, "epsilon", norm.options.epsilon)) return;
    if (!is_finite(norm.options.epsilon) || norm.options.epsilon < 0.0) return;
    if (read_number(config, "momentum", momentum) && momentum >= 0.0 && momentum <= 1.0) {
      norm.options.running = RunningUpdate::keep_old(momentum);
    }
    norm.options.scale = read_flag(config, "scale");
    norm.options.shift = read_flag(config, "center");
    found_.push_back(norm);
  }

  static bool read_number(const nlohmann::json& config, const char* field, double& number) {
    const auto found = config.find(field);
    if (found == config.end() || !found->is_number()) return false;
    number = found->get<double>();
    return true;
  }

  static bool read_flag(const nlohmann::json& config, const char* field) {
    const auto found = config.find(field);
    return found == config.end() || !found->is_boolean() || found->get<bool>();
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
