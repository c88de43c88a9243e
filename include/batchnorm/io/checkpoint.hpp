// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_CHECKPOINT_HPP
#define BATCHNORM_IO_CHECKPOINT_HPP

#include <Eigen/Core>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/file_kind.hpp"
#include "batchnorm/io/inspect.hpp"
#include "batchnorm/io/left_out.hpp"
#include "batchnorm/io/load_options.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/load_state.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors.hpp"
#include "batchnorm/io/safetensors_header.hpp"
#include "batchnorm/io/safetensors_index.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/safetensors_state.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Checkpoints of other systems, and those that are larger than memory. Needs nlohmann/json, so the
// umbrella header leaves this one out.
//
//   open_checkpoint       a file, or the index of several -> Tensors, without reading elements
//   find_batch_norms      all batch norm layers in it (batch_norms.hpp)
//   examine_batch_norm    what is right and wrong with one of them (examine.hpp, suspicion.hpp)
//   inspect               a table of them, and of what is left out (inspect.hpp, left_out.hpp)
//   load_state            one of them, with a report (load_state.hpp, load_options.hpp)
//   save_state            one layer under the names of a system (safetensors_state.hpp, naming.hpp)

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The tensors of one file, mapped.
inline Tensors map_tensors(const FileContext& context) {
  const FileBytes file = map_file(context);
  refuse_other_kinds(context, text_of(file));
  const std::size_t length = parse_header_length(context, file.bytes.get(), file.size);
  const unsigned char* const json = file.bytes.get() + safetensors_prefix_size;
  SafetensorsHeader header =
      parse_header(context, reinterpret_cast<const char*>(json), length, file.size);
  const std::shared_ptr<const unsigned char> data(file.bytes, json + length);
  return share_tensors(context.file, std::move(header), data);
}

/// Adds a shard to what was found before. The index and its shards have to agree on every tensor:
/// one that the index does not know could be the missing beta of a layer.
inline void add_shard(const FileContext& context, const SafetensorsIndex& index,
                      const std::string& file, const Tensors& shard, Tensors& all) {
  for (const std::string& key : shard.keys()) {
    const auto entry = index.file_of.find(key);
    if (entry == index.file_of.end() || entry->second != file) {
      fail_tensor(context, key, "found in shard " + in_quotes(file), "an entry of the index for it",
                  entry == index.file_of.end() ? "none" : "one for " + in_quotes(entry->second));
    }
    all.set(key, shard.tensor(key));
  }
  for (const auto& [key, value] : shard.metadata()) {
    const auto [entry, is_new] = all.metadata().emplace(key, value);
    if (is_new || entry->second == value || key.rfind(metadata_key(""), 0) != 0) continue;
    fail_file(context, text("metadata ", in_quotes(key)), "the same in all shards",
              "another text in " + in_quotes(file));
  }
}

inline Tensors map_shards(const FileContext& context) {
  const FileBytes file_bytes = map_file(context);
  const std::string_view json = text_of(file_bytes);
  refuse_other_json(context, json);
  const SafetensorsIndex index = parse_index(context, json.data(), json.size());
  const std::filesystem::path folder = std::filesystem::path(context.file).parent_path();
  std::set<std::string> files;
  for (const auto& entry : index.file_of) files.insert(entry.second);
  Tensors all(context.file);
  for (const std::string& file : files) {
    const Tensors shard = map_tensors({context.function, (folder / file).string()});
    add_shard(context, index, file, shard, all);
  }
  for (const auto& [key, file] : index.file_of) {
    if (all.contains(key)) continue;
    fail_tensor(context, key, "tensors of the index", "it in shard " + in_quotes(file), "none");
  }
  return all;
}

inline bool is_index_name(const std::string& path) {
  const std::string ending = ".json";
  return path.size() >= ending.size() &&
         path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

}  // namespace detail

/// Opens a checkpoint without reading its elements: a safetensors file, or the index of several,
/// which ends in .json (model.safetensors.index.json). All headers are checked; where the system
/// can map files, the elements come from the disk when they are asked for, so that a checkpoint may
/// be larger than memory. Elsewhere the files are read.
///
/// The shards of an index lie in its folder or below. A link that lies there is followed, because
/// caches of models consist of links. A file that is replaced by renaming stays open as it was; one
/// that is shortened under the program ends it.
/// @throws std::runtime_error whose text has the path, and the byte or the tensor where it is
///         wrong, or what the operating system says; for a file of another kind (PyTorch's, HDF5,
///         ONNX, GGUF, ...) what it is and how to convert it
/// @param path  of the file, or of the index
/// Cost: reads the headers; elements when they are asked for. Source: the format's own description,
/// and its validate() in huggingface/safetensors.
inline Tensors open_checkpoint(const std::string& path) {
  const detail::FileContext context{"open_checkpoint", path};
  return detail::is_index_name(path) ? detail::map_shards(context) : detail::map_tensors(context);
}

/// All batch norm layers of a checkpoint at that path. Cost: as open_checkpoint.
/// @throws what that throws
inline std::vector<FoundBatchNorm> find_batch_norms(const std::string& path) {
  return find_batch_norms(open_checkpoint(path));
}

/// Writes a checkpoint of one layer, its state and options, to `path`, behind a prefix and under
/// the names of a system, `naming`. Shapes: one number per channel. Cost: one write of the file,
/// whole or not at all.
/// @throws what save_state of safetensors_state.hpp and write_safetensors throw
template <class T, int Channels>
void save_state(const std::string& path, const LayerPrefix& prefix, const State<T, Channels>& state,
                const Options& options, const Naming& naming) {
  Tensors tensors;
  save_state(tensors, prefix, state, options, naming);
  write_safetensors(path, tensors);
}

/// Opens a checkpoint at that path and takes one layer out of it; prefix and options are those of
/// load_state for Tensors in load_state.hpp. Cost: reads the headers, and this layer.
/// @throws what that and open_checkpoint throw
template <class T, int Channels = Eigen::Dynamic>
LoadedState<T, Channels> load_state(const std::string& path, const LayerPrefix& prefix,
                                    const LoadOptions& options) {
  return load_state<T, Channels>(open_checkpoint(path), prefix, options);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_CHECKPOINT_HPP
