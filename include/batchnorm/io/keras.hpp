// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_HPP
#define BATCHNORM_IO_KERAS_HPP

#include <hdf5.h>

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/hdf5.hpp"
#include "batchnorm/io/keras_config.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/io/zip.hpp"
#include "batchnorm/version.hpp"

// Models of Keras: HDF5 files (.h5 of Keras 1 and 2, .weights.h5 of Keras 3) and the archives of
// Keras 3 (.keras). Needs the HDF5 library and nlohmann/json, so the umbrella header leaves it out.
//
//   const Tensors model = read_keras("model.keras");
//   for (const FoundBatchNorm& layer : find_batch_norms(model)) {
//     const auto loaded = load_state<float>(model, layer.prefix, LoadOptions::saved());
//   }

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The name of the layer that a prefix of Keras 1 or 2 belongs to: "a/bn1/bn1/" -> "bn1".
inline std::string keras_name(const FoundBatchNorm& layer) {
  std::string prefix = layer.prefix.parameters;
  prefix.erase(prefix.find_last_not_of("/_") + 1);
  return prefix.substr(start_of_leaf(prefix));
}

/// What the JSON says about a layer; nothing when it does not speak of it, or of several that are
/// called the same and differ.
inline std::optional<Options> keras_options(const FoundBatchNorm& layer,
                                            const std::vector<KerasBatchNorm>& norms) {
  std::optional<Options> found;
  const std::string folder = layer.prefix.parameters;
  const std::string name = keras_name(layer);
  for (const KerasBatchNorm& norm : norms) {
    const bool fits = layer.naming.is_list() ? norm.folder + "vars/" == folder : norm.name == name;
    if (!fits) continue;
    const bool differs = found && options_to_json(*found) != options_to_json(norm.options);
    if (differs) return std::nullopt;
    found = norm.options;
  }
  return found;
}

/// Puts what the JSON says beside the layers that were found. Of Keras 1 only epsilon, because what
/// its files have in the place of the variance is for the caller to say.
inline void add_keras_options(Tensors& tensors, const std::vector<KerasBatchNorm>& norms) {
  const std::vector<FoundBatchNorm> layers = find_batch_norms(tensors);
  std::size_t lists = 0;
  for (const FoundBatchNorm& layer : layers) lists += layer.naming.is_list() ? 1 : 0;
  for (const FoundBatchNorm& layer : layers) {
    // Folders are told by counting: as soon as one is missing, the others may be shifted.
    if (layer.naming.is_list() && lists != norms.size()) continue;
    const std::optional<Options> options = keras_options(layer, norms);
    if (!options) continue;
    const std::string& prefix = layer.prefix.parameters;
    if (layer.naming.needs_stored_variance()) {
      tensors.set_value(prefix + "epsilon", options->epsilon);
      continue;
    }
    nlohmann::json object = options_to_json(*options);
    object["names"] = layer.naming.system();
    tensors.metadata()[metadata_key(prefix)] = object.dump();
  }
}

/// Reads the datasets of an open file, and the JSON of the model if it has one.
inline std::string read_open_hdf5(const FileContext& context, hid_t file, std::uint64_t size,
                                  Tensors& tensors) {
  if (file < 0) fail_file(context, "kind of file", "HDF5 that the library can open", "another");
  const Hdf5Handle handle(file, H5Fclose);
  const Hdf5Handle root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root.is_open()) fail_file(context, "root of the file", "a group", "none");
  Hdf5Reader(context, size, tensors).read_group(root.id(), "");
  return hdf5_text(root.id(), "model_config");
}

inline Tensors read_keras_bytes(const FileContext& context, std::string_view bytes) {
  const Hdf5Silence silence;
  Tensors tensors(context.file);
  std::string config;
  if (bytes.substr(0, 4) == "PK\x03\x04") {
    const auto weights = zip_member(context, bytes, "model.weights.h5");
    if (!weights) {
      fail_file(context, "kind of file", "an archive of Keras 3, with model.weights.h5",
                "a zip archive without it");
    }
    read_open_hdf5(context, open_hdf5_image(*weights), weights->size(), tensors);
    config = std::string(zip_member(context, bytes, "config.json").value_or(""));
  } else {
    config = read_open_hdf5(context, open_hdf5_image(bytes), bytes.size(), tensors);
  }
  add_keras_options(tensors, read_keras_config(config));
  return tensors;
}

}  // namespace detail

/// Reads a model of Keras from memory; see read_keras. Cost: as there, without reading.
/// @param bytes, size  the file
/// @param name  what messages call these bytes
/// @throws std::invalid_argument also when bytes is null and size is not 0
inline Tensors parse_keras(const void* bytes, std::size_t size, const std::string& name) {
  const detail::FileContext context{"parse_keras", name};
  detail::check_bytes(context, bytes, size);
  return detail::read_keras_bytes(context, {static_cast<const char*>(bytes), size});
}

/// Reads all datasets of a model of Keras, by their paths ("model_weights/bn1/bn1/gamma:0",
/// "layers/batch_normalization/vars/0"), and for each batch norm the options in the model's own
/// JSON: epsilon, the weight of the old average, which of gamma and beta there are. Such a layer is
/// loaded with LoadOptions::saved(). Files of weights alone have no JSON: then epsilon has to be
/// given. Links to other files are not followed.
///
/// Cost: reads the whole file at that path into memory, once more for an archive. Thread safety:
/// HDF5 without it, as Debian has it, allows one call at a time. Source: the code of Keras.
/// @throws std::runtime_error whose text has the path, when it is no such file, a dataset cannot be
///         read or claims more elements than the file can hold, or a member of an archive is
///         compressed
inline Tensors read_keras(const std::string& path) {
  const detail::FileContext context{"read_keras", path};
  const detail::FileBytes file = detail::map_file(context);
  return detail::read_keras_bytes(context, detail::text_of(file));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_KERAS_HPP
