// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_KERAS_HPP
#define BATCHNORM_IO_KERAS_HPP

#include <hdf5.h>

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/hdf5.hpp"
#include "batchnorm/io/keras_config.hpp"
#include "batchnorm/io/keras_names.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/layer_tensors.hpp"
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

/// The names of groups of HDF5 that have one, by their path.
using KerasGroupNames = std::map<std::string, std::string>;

/// Puts what the JSON says beside a layer. Of Keras 1 only epsilon, because what its files have in
/// the place of the variance is for the caller to say.
inline void set_keras_options(Tensors& tensors, const std::string& prefix, const Naming& naming,
                              const Options& options) {
  if (naming.needs_stored_variance()) {
    tensors.set_value(prefix + "epsilon", options.epsilon);
    return;
  }
  nlohmann::json object = options_to_json(options);
  object["names"] = naming.system();
  tensors.metadata()[metadata_key(prefix)] = object.dump();
}

/// The lists of arrays in an archive of Keras 3: who they belong to, by the folder of the list.
class KerasLists {
 public:
  KerasLists(Tensors& tensors, const std::vector<KerasBatchNorm>& norms,
             const KerasGroupNames& names)
      : tensors_(tensors), norms_(norms), names_(names) {
    for (const std::string& key : tensors.keys()) {
      if (ends_with_name(key, list_ + "0", "/") && !is_optimizer_slot(key)) {
        folders_.push_back(key.substr(0, key.size() - list_.size() - 1));
      }
    }
    folders_agree_ = do_folders_agree();
  }

  void add_options() const {
    for (const std::string& folder : folders_) {
      const std::string prefix = folder + list_;
      const KerasBatchNorm* const norm = norm_of(folder);
      if (norm != nullptr && has_arrays_of(*norm, prefix)) {
        set_keras_options(tensors_, prefix, Naming::keras3(), norm->options());
      } else if (norm == nullptr && is_named_batch_norm(prefix)) {
        tensors_.metadata()[metadata_key(prefix)] =
            nlohmann::json{{"names", Naming::keras3().system()}}.dump();
      }
    }
  }

 private:
  /// Keras 3 names folders of layers as the JSON is read here; TensorFlow 2.12 and 2.13 had another
  /// word, and the JSON of a Bidirectional has one layer for both directions.
  const KerasBatchNorm* norm_of_folder(std::string folder) const {
    while (replace_part(folder, "_layer_checkpoint_dependencies", "layers")) continue;
    while (replace_part(folder, "backward_layer", "forward_layer")) continue;
    for (const KerasBatchNorm& norm : norms_) {
      if (norm.folder == folder) return &norm;
    }
    return nullptr;
  }

  /// Folders are told by counting: as soon as one is not where the JSON has it, others may be
  /// shifted. A layer that several models share is saved in the folder of the first.
  bool do_folders_agree() const {
    std::set<std::string> there;
    std::set<std::string> names;
    for (const std::string& folder : folders_) {
      const KerasBatchNorm* const norm = norm_of_folder(folder);
      if (norm == nullptr && is_called_batch_norm(folder)) return false;
      if (norm == nullptr) continue;
      there.insert(norm->folder);
      names.insert(norm->name);
    }
    for (const KerasBatchNorm& norm : norms_) {
      if (there.count(norm.folder) == 0 && names.count(norm.name) == 0) return false;
    }
    return true;
  }

  /// What a recent Keras 3 calls the layer of a folder; "" in older archives.
  std::string name_of(const std::string& folder) const {
    const auto name = names_.find(folder + list_);
    return name == names_.end() ? "" : name->second;
  }

  /// The names of a folder and those that it lies in: "encoder/bn1/".
  std::string named_path(const std::string& folder) const {
    std::string path;
    for (std::size_t end = 0; end < folder.size(); ++end) {
      if (folder[end] != '/') continue;
      const std::string name = name_of(folder.substr(0, end + 1));
      if (!name.empty()) path += name + "/";
    }
    return path;
  }

  const KerasBatchNorm* norm_of(const std::string& folder) const {
    const KerasBatchNorm* const by_folder = norm_of_folder(folder);
    const std::string name = name_of(folder);
    if (name.empty()) return folders_agree_ ? by_folder : nullptr;
    if (by_folder != nullptr && by_folder->name == name) return by_folder;
    return find_keras_norm(named_path(folder), norms_);
  }

  bool has_arrays_of(const KerasBatchNorm& norm, const std::string& prefix) const {
    const std::size_t affine = (norm.config.scale ? 1 : 0) + (norm.config.shift ? 1 : 0);
    return tensors_.keys(prefix).size() == 2 + affine;
  }

  /// Whether four vectors belong to a layer whose name says batch norm, whatever its folder says.
  bool is_named_batch_norm(const std::string& prefix) const {
    const FoundBatchNorm list = look_at(tensors_, prefix, Naming::keras3());
    const auto name = names_.find(prefix);
    return name != names_.end() && is_called_batch_norm(name->second) && list.has(Role::beta) &&
           has_shapes_of_batch_norm(tensors_, list) && tensors_.keys(prefix).size() == 4;
  }

  const std::string list_ = "vars/";
  Tensors& tensors_;
  const std::vector<KerasBatchNorm>& norms_;
  const KerasGroupNames& names_;
  std::vector<std::string> folders_;
  bool folders_agree_ = false;
};

/// Puts what the JSON says beside the layers that are found.
inline void add_keras_options(Tensors& tensors, const std::vector<KerasBatchNorm>& norms,
                              const KerasGroupNames& names) {
  KerasLists(tensors, norms, names).add_options();
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
    if (layer.naming.is_list()) continue;
    const std::string& prefix = layer.prefix.parameters;
    const KerasBatchNorm* const norm = find_keras_norm(prefix, norms);
    if (norm != nullptr) set_keras_options(tensors, prefix, layer.naming, norm->options());
  }
}

/// Reads the datasets of an open file, and the JSON of the model if it has one.
inline std::string read_open_hdf5(const FileContext& context, hid_t file, std::uint64_t size,
                                  Tensors& tensors, KerasGroupNames& names) {
  if (file < 0)
    fail_file(context, "kind of file", "HDF5 that the library can open",
              "another, or one that is truncated or damaged");
  const Hdf5Handle handle(file, H5Fclose);
  const Hdf5Handle root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root.is_open()) fail_file(context, "root of the file", "a group", "none");
  Hdf5Reader reader(context, size, tensors);
  reader.read_group(root.id(), "");
  names = reader.group_names();
  return hdf5_text(root.id(), "model_config");
}

inline Tensors read_keras_bytes(const FileContext& context, std::string_view bytes) {
  const Hdf5Silence silence;
  Tensors tensors(context.file);
  std::string config;
  KerasGroupNames names;
  if (bytes.substr(0, 4) == "PK\x03\x04") {
    const auto weights = zip_member(context, bytes, "model.weights.h5");
    if (!weights) {
      fail_file(context, "kind of file", "an archive of Keras 3, with model.weights.h5",
                "a zip archive without it");
    }
    read_open_hdf5(context, open_hdf5_image(*weights), weights->size(), tensors, names);
    config = std::string(zip_member(context, bytes, "config.json").value_or(""));
  } else {
    config = read_open_hdf5(context, open_hdf5_image(bytes), bytes.size(), tensors, names);
  }
  add_keras_options(tensors, read_keras_config(config), names);
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
/// loaded with LoadOptions::saved(). Models in models, shared layers and layers in wrappers such as
/// TimeDistributed are found, too. Files of weights alone have no JSON: then epsilon has to be
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
