// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_TFJS_HPP
#define BATCHNORM_IO_TFJS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/keras_config.hpp"
#include "batchnorm/io/keras_names.hpp"
#include "batchnorm/io/safetensors_index.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Models of TensorFlow.js in the format layers-model: model.json has the layers of Keras in its
// modelTopology and the names, shapes and types of all weights in its weightsManifest; the numbers
// lie one behind the other in the files that the manifest names. Weights are found by name and
// never by place: a frozen layer's stand elsewhere (TensorFlow.js 4.22.0).
//
// A weight may be quantised: q of uint8 or uint16 stands for q scale + min. Both come from a
// stranger, as with safetensors: nothing is trusted, and no file outside of the folder is opened.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Gives the bytes of a file of the manifest.
using TfjsFiles = std::function<FileBytes(const std::string& name)>;

class TfjsReader {
 public:
  using Json = nlohmann::json;

  TfjsReader(const FileContext& context, TfjsFiles files)
      : context_(context), files_(std::move(files)), tensors_(context.file) {}

  Tensors read(std::string_view text_of_model) {
    const Json model = Json::parse(text_of_model.begin(), text_of_model.end(), nullptr, false);
    if (!model.is_object()) fail_file(context_, "model", "a JSON object", "something else");
    refuse_graph_model(model);
    const Json& manifest = json_field(model, "weightsManifest");
    if (!manifest.is_array()) fail_file(context_, "weightsManifest", "an array", "something else");
    for (const Json& group : manifest) read_group(group);
    attach_options(norms_of(json_field(model, "modelTopology")));
    return std::move(tensors_);
  }

 private:
  void refuse_graph_model(const Json& model) const {
    const bool graph = json_text_in(model, "format") == "graph-model" ||
                       json_field(json_field(model, "modelTopology"), "node").is_array();
    if (!graph) return;
    fail_file(context_, "format", "layers-model",
              "graph-model, in which no batch norm is left: the converter folds it, or makes it a "
              "Mul and an Add (names that end in /Scaled and /Offset), whose numbers do not say "
              "mean and variance; convert the Keras model as layers-model");
  }

  /// The bytes of a group: its files one behind the other.
  std::string bytes_of(const Json& group) const {
    std::string bytes;
    const Json& paths = json_field(group, "paths");
    if (!paths.is_array()) fail_file(context_, "paths of a group", "an array", "something else");
    for (const Json& path : paths) {
      // Models that a browser has saved have "./" in front.
      const std::string name = without_dot(path.is_string() ? path.get<std::string>() : "");
      const std::string objection = objection_to_file_name(name);
      if (!objection.empty()) {
        fail_file(context_, "paths of a group", "names below the folder of the model",
                  objection + ": " + in_quotes(name));
      }
      const FileBytes file = files_(name);
      bytes.append(text_of(file));
    }
    return bytes;
  }

  void read_group(const Json& group) {
    const std::string bytes = bytes_of(group);
    const Json& weights = json_field(group, "weights");
    if (!weights.is_array())
      fail_file(context_, "weights of a group", "an array", "something else");
    std::size_t begin = 0;
    for (const Json& weight : weights) begin = read_weight(weight, bytes, begin);
    if (begin != bytes.size()) {
      fail_file(context_, "bytes of the files of a group", text(begin), text(bytes.size()));
    }
  }

  std::vector<Index> shape_of(const Json& weight, const std::string& key) const {
    std::vector<Index> shape;
    const Json& extents = json_field(weight, "shape");
    bool valid = extents.is_array();
    for (const Json& extent : extents) {
      const bool fits = extent.is_number_unsigned() &&
                        extent.get<std::uint64_t>() <=
                            static_cast<std::uint64_t>((std::numeric_limits<Index>::max)());
      valid = valid && fits;
      if (fits) shape.push_back(static_cast<Index>(extent.get<std::uint64_t>()));
    }
    if (!valid) fail_tensor(context_, key, "shape", "whole numbers", "something else");
    return shape;
  }

  /// The name of safetensors for a type; float16 is one of quantisation only.
  const char* dtype_of(const std::string& name, const std::string& key) const {
    const std::pair<const char*, const char*> known[] = {{"float32", "F32"}, {"float16", "F16"},
                                                         {"int32", "I32"},   {"uint16", "U16"},
                                                         {"uint8", "U8"},    {"bool", "BOOL"}};
    for (const auto& [tfjs, dtype] : known) {
      if (name == tfjs) return dtype;
    }
    fail_tensor(context_, key, "dtype", "float32, float16, int32, uint16, uint8 or bool",
                in_quotes(name));
  }

  /// Texts, a vocabulary for example, are passed over: each stands behind its length in 4 bytes.
  std::size_t bytes_of_texts(const std::vector<Index>& shape, const std::string& key,
                             const std::string& bytes, std::size_t begin) const {
    std::uint64_t place = begin;
    const std::optional<std::uint64_t> count = count_elements(shape);
    bool fits = count.has_value();
    for (std::uint64_t i = 0; fits && i < *count; ++i) {
      fits = bytes.size() - place >= sizeof(std::uint32_t);
      if (!fits) break;
      const std::uint32_t length = number_at<std::uint32_t>(bytes.data() + place);
      place += sizeof length;
      fits = bytes.size() - place >= length;
      place += length;
    }
    if (fits) return static_cast<std::size_t>(place) - begin;
    fail_tensor(context_, key, "the files of the group are truncated",
                text("elements of string ", shape_text(shape)),
                text(bytes.size() - begin, " bytes"));
  }

  void check_quantisation(const Json& quantisation, const std::string& type,
                          const std::string& key) const {
    if (quantisation.is_null()) return;
    const bool is_known = type == "uint8" || type == "uint16" || type == "float16";
    if (quantisation.is_object() && is_known) return;
    fail_tensor(context_, key, "quantization", "an object with dtype uint8, uint16 or float16",
                quantisation.is_object() ? in_quotes(type) : "something else");
  }

  /// @return where the next weight begins
  std::size_t read_weight(const Json& weight, const std::string& bytes, std::size_t begin) {
    const std::string key = json_text_in(weight, "name");
    if (key.empty() || key == "__metadata__" || tensors_.contains(key)) {
      fail_file(context_, "name of a weight", "one of its own", in_quotes(key));
    }
    const std::vector<Index> shape = shape_of(weight, key);
    const Json& quantisation = json_field(weight, "quantization");
    const bool quantised = quantisation.is_object();
    const std::string type = json_text_in(quantised ? quantisation : weight, "dtype");
    check_quantisation(quantisation, type, key);
    if (type == "string") return begin + bytes_of_texts(shape, key, bytes, begin);
    const char* const dtype = dtype_of(type, key);
    const std::optional<std::uint64_t> count = count_elements(shape);
    const std::uint64_t size = dtype_bits(dtype) / 8;
    const std::uint64_t left = bytes.size() - begin;
    if (!count || *count > left / size) {
      fail_tensor(context_, key, "the files of the group are truncated",
                  text("elements of ", dtype, " ", shape_text(shape)), text(left, " bytes"));
    }
    Tensor stored{dtype, shape, nullptr, static_cast<std::size_t>(*count * size)};
    const std::shared_ptr<unsigned char> copy = allocate_bytes(stored.size);
    std::copy(bytes.data() + begin, bytes.data() + begin + stored.size, copy.get());
    stored.bytes = copy;
    begin += stored.size;
    tensors_.set(key, std::move(stored));
    if (quantised && dtype != std::string("F16")) dequantise(quantisation, key);
    return begin;
  }

  /// value = q scale + min. The quantiser moves min so that one q stands for exactly zero, which
  /// the sum misses by its roundings.
  void dequantise(const Json& quantisation, const std::string& key) {
    const Json& scale_field = json_field(quantisation, "scale");
    const Json& min_field = json_field(quantisation, "min");
    if (!scale_field.is_number() || !min_field.is_number()) {
      fail_tensor(context_, key, "quantization", "a scale and a min", "none");
    }
    const double scale = scale_field.get<double>();
    const double min = min_field.get<double>();
    constexpr double rounding = 0x1p-20;
    std::vector<float> values;
    for (const std::uint16_t q : tensors_.values<std::uint16_t>(key)) {
      const double value = static_cast<double>(q) * scale + min;
      const bool zero = value < scale * rounding && value > -scale * rounding;
      values.push_back(zero ? 0.0f : static_cast<float>(value));
    }
    const std::vector<Index> shape = tensors_.shape(key);
    tensors_.set(key, shape, values);
  }

  /// The topology is a model of Keras, or has it in a field.
  std::vector<KerasBatchNorm> norms_of(const Json& topology) const {
    const Json& model = json_field(topology, "model_config");
    std::vector<KerasBatchNorm> norms = keras_norms_of(model.is_object() ? model : topology);
    for (const KerasBatchNorm& norm : norms) {
      const std::string layer = text("layer ", in_quotes(norm.name));
      if (!norm.config.has_valid_epsilon()) {
        fail_file(context_, layer + ": epsilon", "zero or larger", text(*norm.config.epsilon));
      }
      if (norm.config.momentum && !norm.config.has_valid_momentum()) {
        fail_file(context_, layer + ": momentum", "a number in [0, 1]",
                  text(*norm.config.momentum));
      }
    }
    return norms;
  }

  void attach_options(const std::vector<KerasBatchNorm>& norms) {
    for (const FoundBatchNorm& found : find_batch_norms(tensors_)) {
      const std::string& prefix = found.prefix.parameters;
      const KerasBatchNorm* const norm = find_keras_norm(prefix, norms);
      if (norm == nullptr) continue;
      tensors_.metadata()[metadata_key(prefix)] = options_to_json(norm->options()).dump();
    }
  }

  const FileContext& context_;
  TfjsFiles files_;
  Tensors tensors_;
};

}  // namespace detail

/// Opens a model of TensorFlow.js: model.json of the format layers-model, and the files beside it
/// that it names. What comes back is used as any checkpoint, with epsilon and update rule of the
/// topology:
///
///     const Tensors model = open_tfjs("model.json");
///     for (const FoundBatchNorm& norm : find_batch_norms(model)) {
///       const auto layer = load_state<float>(model, norm.prefix, LoadOptions::saved());
///     }
///
/// Quantised weights become float numbers, within scale 2^-20 of zero exactly zero. Statistics that
/// are integers without min and scale are refused by load_state. Two layers of one name with
/// different options have none, and want an Epsilon from the caller.
/// @param path  of model.json
/// @throws std::runtime_error naming the file and the weight; of a graph-model it says that no
///         batch norm is left in it
/// Cost: reads all weights, each once. Source: the code of TensorFlow.js 4.22.0.
inline Tensors open_tfjs(const std::string& path) {
  const detail::FileContext context{"open_tfjs", path};
  const detail::FileBytes model = detail::map_file(context);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const auto file = [&](const std::string& name) {
    return detail::map_file({context.function, (folder / name).string()});
  };
  return detail::TfjsReader(context, file).read(detail::text_of(model));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_TFJS_HPP
