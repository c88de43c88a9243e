// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_AUDIO_JSON_HPP
#define BATCHNORM_IO_AUDIO_JSON_HPP

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Networks of audio plug-ins in JSON, whose batch norms carry their epsilon:
//
//   RTNeural, of Keras    {"layers": [{"type": "batchnorm", "epsilon": e, "weights": [gamma, beta,
//                         mean, variance]}, ...]}, or [mean, variance] in weights
//   RTNeural, of PyTorch  {"weight": [...], "running_mean": [...], ..., "eps": e}, nested or with
//                         dots in the names
//   NAM                   {"architecture": "ConvNet", "config": {...}, "weights": [all numbers]},
//                         in which a norm is mean, variance, gamma, beta, epsilon

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// An array of numbers, or of arrays of numbers of one size, and so on.
class JsonArray {
 public:
  /// @return whether it is one
  bool read(const nlohmann::json& value) {
    shape_.clear();
    numbers_.clear();
    return add(value, 0);
  }
  const std::vector<Index>& shape() const { return shape_; }
  const std::vector<double>& numbers() const { return numbers_; }

 private:
  bool add(const nlohmann::json& value, std::size_t depth) {
    constexpr std::size_t deepest = 8;
    if (value.is_number()) {
      numbers_.push_back(value.get<double>());
      return depth == shape_.size();
    }
    if (!value.is_array() || value.empty() || depth >= deepest) return false;
    const Index size = static_cast<Index>(value.size());
    if (depth == shape_.size()) {
      if (!numbers_.empty()) return false;
      shape_.push_back(size);
    }
    if (shape_[depth] != size) return false;
    for (const nlohmann::json& element : value) {
      if (!add(element, depth + 1)) return false;
    }
    return true;
  }

  std::vector<Index> shape_;
  std::vector<double> numbers_;
};

/// All arrays of numbers, by their path with dots; what is neither is left out.
inline void read_json_arrays(const nlohmann::json& value, const std::string& path, int depth,
                             Tensors& tensors) {
  constexpr int deepest = 64;
  JsonArray array;
  // `weights` is a list of arrays, also where these happen to have one size.
  const bool is_list = value.is_array() && !value.empty() && value[0].is_array() &&
                       ends_with_name(path, "weights", ".");
  if (!is_list && array.read(value)) {
    tensors.set(path, array.shape(), array.numbers());
    return;
  }
  if (!value.is_structured() || depth > deepest) return;
  std::size_t number = 0;
  for (const auto& [name, element] : value.items()) {
    const std::string part = value.is_array() ? std::to_string(number++) : name;
    read_json_arrays(element, path.empty() ? part : path + "." + part, depth + 1, tensors);
  }
}

/// Puts the epsilon of the norms in a list of layers, which the arrays know nothing of, beside
/// them.
inline void add_rtneural_options(const nlohmann::json& model, Tensors& tensors) {
  const auto layers = model.find("layers");
  if (layers == model.end() || !layers->is_array()) return;
  std::size_t number = 0;
  for (const nlohmann::json& layer : *layers) {
    const std::string prefix = "layers." + std::to_string(number++) + ".weights.";
    if (!layer.is_object()) continue;
    const auto type = layer.find("type");
    const auto epsilon = layer.find("epsilon");
    const bool is_norm = type != layer.end() && type->is_string() &&
                         type->get_ref<const std::string&>().compare(0, 9, "batchnorm") == 0;
    if (!is_norm || epsilon == layer.end() || !epsilon->is_number()) continue;
    Options options = Naming::rtneural().options();
    options.epsilon = epsilon->get<double>();
    options.scale = options.shift = tensors.contains(prefix + "2");
    if (!is_finite(options.epsilon) || options.epsilon < 0.0) continue;
    nlohmann::json object = options_to_json(options);
    object["names"] = Naming::rtneural().system();
    tensors.metadata()[metadata_key(prefix)] = object.dump();
  }
}

/// Numbers of a NAM model one after the other.
class NamWeights {
 public:
  NamWeights(const FileContext& context, const std::vector<double>& numbers)
      : context_(context), numbers_(numbers) {}

  void take(Tensors& tensors, const std::string& key, const std::vector<Index>& shape) {
    const std::uint64_t count = *count_elements(shape);
    if (count > numbers_.size() - next_) {
      fail_tensor(context_, key, "numbers in weights", text("at least ", next_ + count),
                  text(numbers_.size()));
    }
    const auto begin = numbers_.begin() + static_cast<std::ptrdiff_t>(next_);
    tensors.set(key, shape, std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count)));
    next_ += static_cast<std::size_t>(count);
  }

  /// All have to be used: otherwise the order is another one.
  void finish() const {
    if (next_ == numbers_.size()) return;
    fail_file(context_, "numbers in weights", text(next_), text(numbers_.size()));
  }

 private:
  const FileContext& context_;
  const std::vector<double>& numbers_;
  std::size_t next_ = 0;
};

/// A network of the architecture ConvNet: blocks of a convolution with two taps, a batch norm where
/// it is on, and an activation; then a head of one output.
inline void read_nam(const FileContext& context, const nlohmann::json& model, Tensors& tensors) {
  const auto fail = [&](const char* rule) {
    fail_file(context, rule, "a ConvNet with channels, dilations, batchnorm and weights", "others");
  };
  const auto config = model.find("config");
  const auto weights = model.find("weights");
  JsonArray numbers;
  if (config == model.end() || !config->is_object() || weights == model.end()) fail("NAM model");
  const auto channels_field = config->find("channels");
  const auto dilations = config->find("dilations");
  const auto norm = config->find("batchnorm");
  const bool is_whole = channels_field != config->end() && channels_field->is_number_unsigned() &&
                        dilations != config->end() && dilations->is_array() &&
                        norm != config->end() && norm->is_boolean() && numbers.read(*weights) &&
                        numbers.shape().size() == 1;
  if (!is_whole) fail("NAM model");
  const std::uint64_t wide = channels_field->get<std::uint64_t>();
  if (wide < 1 || wide > numbers.numbers().size()) fail("channels of the NAM model");
  const Index channels = static_cast<Index>(wide);
  NamWeights next(context, numbers.numbers());
  for (std::size_t block = 0; block < dilations->size(); ++block) {
    const std::string prefix = "blocks." + std::to_string(block) + ".";
    next.take(tensors, prefix + "conv.weight", {channels, block == 0 ? 1 : channels, 2});
    if (!norm->get<bool>()) {
      next.take(tensors, prefix + "conv.bias", {channels});
      continue;
    }
    for (const char* name : {"running_mean", "running_var", "weight", "bias"}) {
      next.take(tensors, prefix + "bn." + name, {channels});
    }
    next.take(tensors, prefix + "bn.eps", {});
  }
  next.take(tensors, "head.weight", {1, channels});
  next.take(tensors, "head.bias", {1});
  next.finish();
}

inline Tensors read_audio_text(const FileContext& context, std::string_view json) {
  const nlohmann::json model = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  if (!model.is_object()) fail_file(context, "kind of file", "a JSON object", "another");
  Tensors tensors(context.file);
  const auto architecture = model.find("architecture");
  if (architecture != model.end()) {
    if (*architecture != "ConvNet") {
      fail_file(context, "architecture of the NAM model", "ConvNet, which has batch norms",
                architecture->is_string() ? in_quotes(architecture->get<std::string>()) : "none");
    }
    read_nam(context, model, tensors);
    return tensors;
  }
  read_json_arrays(model, "", 0, tensors);
  add_rtneural_options(model, tensors);
  return tensors;
}

}  // namespace detail

/// Reads a network of RTNeural or of NAM from a text, `json`, which messages call `name`; see
/// read_audio_json. Cost: one pass over the text.
/// @throws what read_audio_json throws
inline Tensors parse_audio_json(const std::string& json, const std::string& name) {
  return detail::read_audio_text(detail::FileContext{"parse_audio_json", name}, json);
}

/// Reads a network that RTNeural or NAM (architecture ConvNet) has as JSON. Numbers become F64.
/// Batch norms carry their epsilon, so that they are loaded with LoadOptions::saved().
/// @throws std::runtime_error whose text has the path, when it is no JSON object, or the numbers of
///         a NAM model are not as many as its layers have
/// Cost: reads the whole file at that path. Source: the code of RTNeural and of NAM.
inline Tensors read_audio_json(const std::string& path) {
  const detail::FileContext context{"read_audio_json", path};
  const detail::FileBytes file = detail::map_file(context);
  return detail::read_audio_text(context, detail::text_of(file));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_AUDIO_JSON_HPP
