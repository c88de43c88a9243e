// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_HPP
#define BATCHNORM_IO_SAFETENSORS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/atomic_file.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/file_kind.hpp"
#include "batchnorm/io/safetensors_header.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_moments.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/safetensors_state.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Checkpoints in the safetensors format, the one that PyTorch, JAX and Keras users exchange. Needs
// nlohmann/json, so the umbrella header leaves this one out.
//
//   read_safetensors, parse_safetensors   a file, or its bytes -> Tensors
//   write_safetensors                     Tensors -> a file, whole or not at all
//   load_state, save_state                Tensors <-> the State of a layer (safetensors_state.hpp)
//   load_options, has_options             its Options, when they were saved
//                                         (safetensors_options.hpp)
//   load_moments, save_moments            Tensors <-> Moments (safetensors_moments.hpp)
//   load_bank, save_bank                  Tensors <-> a StatisticBank (safetensors_bank.hpp, to be
//                                         included by name)
//
// Checkpoints of other systems and sharded ones, a report about each layer, and files larger than
// memory: checkpoint.hpp. Where the pieces are: safetensors_layout.hpp has the rules of the format,
// safetensors_header.hpp the JSON, dtype.hpp the conversions of numbers, file_bytes.hpp the reading
// and atomic_file.hpp the writing.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The tensors of a header, sharing the bytes of one buffer that begins after it.
inline Tensors share_tensors(const std::string& name, SafetensorsHeader header,
                             const std::shared_ptr<const unsigned char>& data) {
  Tensors tensors(name);
  for (auto& [key, info] : header.tensors) {
    tensors.set(key, Tensor{std::move(info.dtype), std::move(info.shape),
                            std::shared_ptr<const unsigned char>(data, data.get() + info.begin),
                            static_cast<std::size_t>(info.end - info.begin)});
  }
  tensors.metadata() = std::move(header.metadata);
  return tensors;
}

/// A name as JSON text.
inline std::string json_text(const FileContext& context, const std::string& name) {
  using Policy = nlohmann::json::error_handler_t;
  const nlohmann::json value(name);
  const std::string json = value.dump(-1, ' ', false, Policy::replace);
  // The two policies differ exactly where the bytes are no UTF-8.
  if (json != value.dump(-1, ' ', false, Policy::ignore)) {
    fail_argument(context.function, "names and metadata", "UTF-8", in_quotes(name));
  }
  return json;
}

/// The order in which tensors are written: by falling element size, so that each is aligned.
inline std::vector<std::string> order_of_writing(const Tensors& tensors) {
  std::vector<std::string> order = tensors.keys();
  std::stable_sort(order.begin(), order.end(), [&](const std::string& a, const std::string& b) {
    return dtype_rank(tensors.dtype(a)) > dtype_rank(tensors.dtype(b));
  });
  return order;
}

inline std::string build_header(const FileContext& context, const Tensors& tensors,
                                const std::vector<std::string>& order) {
  std::string json = "{";
  if (!tensors.metadata().empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : tensors.metadata()) {
      if (json.back() != '{') json += ',';
      json += json_text(context, key) + ":" + json_text(context, value);
    }
    json += '}';
  }
  std::uint64_t offset = 0;
  for (const std::string& key : order) {
    const Tensor& tensor = tensors.tensor(key);
    if (json.size() > 1) json += ',';
    json += text(json_text(context, key), ":{\"dtype\":\"", tensor.dtype, "\",\"shape\":[");
    for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      json += text(axis == 0 ? "" : ",", tensor.shape[axis]);
    }
    json += text("],\"data_offsets\":[", offset, ",", offset + tensor.size, "]}");
    offset += tensor.size;
  }
  json += '}';
  while (json.size() % safetensors_prefix_size != 0) json += ' ';
  if (json.size() > safetensors_longest_header) {
    fail_argument(context.function, "bytes of the header",
                  text("at most ", safetensors_longest_header), text(json.size()));
  }
  return json;
}

}  // namespace detail

/// Reads a checkpoint from memory.
///
/// The bytes come from anywhere: every rule of the format is checked before an element is touched
/// (safetensors_layout.hpp lists them), and nothing outside of [bytes, bytes + size) is read. The
/// tensors are copied, so the bytes may go away afterwards. Cost: one copy of the elements.
/// @param bytes, size  the file
/// @param name  what messages call these bytes
/// @throws std::runtime_error whose text has the name, and the byte or the tensor where it is
///         wrong; std::invalid_argument when bytes is null and size is not 0.
inline Tensors parse_safetensors(const void* bytes, std::size_t size, const std::string& name) {
  const detail::FileContext context{"parse_safetensors", name};
  detail::check_bytes(context, bytes, size);
  const unsigned char* const begin = static_cast<const unsigned char*>(bytes);
  detail::refuse_other_kinds(context, {static_cast<const char*>(bytes), size});
  const std::size_t length = detail::parse_header_length(context, begin, size);
  const unsigned char* const json = begin + detail::safetensors_prefix_size;
  detail::SafetensorsHeader header =
      detail::parse_header(context, reinterpret_cast<const char*>(json), length, size);
  const std::shared_ptr<unsigned char> data = detail::allocate_bytes(header.data_size);
  std::memcpy(data.get(), json + length, static_cast<std::size_t>(header.data_size));
  return detail::share_tensors(name, std::move(header), data);
}

/// Reads a checkpoint. The header is checked before memory for the elements is asked for. Cost: one
/// read of the whole file; open_checkpoint reads what is asked for.
/// @throws std::runtime_error whose text has the path, and the byte or the tensor where it is
///         wrong, or what the operating system says.
inline Tensors read_safetensors(const std::string& path) {
  const detail::FileContext context{"read_safetensors", path};
  detail::refuse_other_kinds(context, detail::read_beginning(context));
  detail::SequentialFile file(context);
  unsigned char prefix[detail::safetensors_prefix_size] = {};
  file.read(prefix, std::min<std::uint64_t>(sizeof prefix, file.size()));
  const std::size_t length = detail::parse_header_length(context, prefix, file.size());
  std::string json(length, '\0');
  file.read(&json[0], length);
  detail::SafetensorsHeader header =
      detail::parse_header(context, json.data(), length, file.size());
  detail::check_addressable(context, header.data_size);
  const std::shared_ptr<unsigned char> data = detail::allocate_bytes(header.data_size);
  file.read(data.get(), header.data_size);
  return detail::share_tensors(path, std::move(header), data);
}

/// Is told now and then how many bytes of the elements were handed to the system, and how many
/// there are.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

namespace detail {

inline void write_tensors(AtomicFile& file, const Tensors& tensors,
                          const std::vector<std::string>& order, const WriteProgress& progress) {
  constexpr std::size_t piece = std::size_t{1} << 24;
  std::uint64_t all = 0;
  for (const std::string& key : order) all += tensors.tensor(key).size;
  std::uint64_t done = 0;
  for (const std::string& key : order) {
    const Tensor& tensor = tensors.tensor(key);
    for (std::size_t begin = 0; begin < tensor.size; begin += piece) {
      const std::size_t size = (std::min)(piece, tensor.size - begin);
      file.write(tensor.bytes.get() + begin, size);
      done += size;
      if (progress) progress(done, all);
    }
  }
}

}  // namespace detail

/// Writes a checkpoint: whole or not at all. The bytes go to a temporary file in the same folder,
/// which is flushed to the disk and then renamed; see AtomicFile. The same tensors give the same
/// bytes, whatever the order in which they were set. Cost: one write of the elements.
/// @param path      of the file
/// @param tensors   what it will hold
/// @param progress  is told how much is done; may be empty
/// @throws std::runtime_error naming the file and what the operating system says, the temporary
///         file being removed; std::invalid_argument when a name is not UTF-8.
inline void write_safetensors(const std::string& path, const Tensors& tensors,
                              const WriteProgress& progress = {}) {
  const detail::FileContext context{"write_safetensors", path};
  const std::vector<std::string> order = detail::order_of_writing(tensors);
  const std::string json = detail::build_header(context, tensors, order);
  const std::uint64_t length = json.size();
  unsigned char prefix[detail::safetensors_prefix_size];
  detail::copy_little_endian(prefix, &length, 1, sizeof prefix);
  std::string failure;
  {
    detail::AtomicFile file(path);
    file.write(prefix, sizeof prefix);
    file.write(json.data(), json.size());
    detail::write_tensors(file, tensors, order, progress);
    if (!file.commit()) failure = file.failure();
  }
  if (!failure.empty()) {
    detail::raise_runtime_error(
        detail::text(detail::beginning(context), "nothing was written: ", failure));
  }
}

/// Writes a checkpoint of one layer, its state behind a prefix, to a path. Shapes: one number per
/// channel. Cost: one write of the file.
/// @throws what save_state of safetensors_state.hpp and write_safetensors throw
template <class T, int Channels>
void save_state(const std::string& path, const std::string& prefix,
                const State<T, Channels>& state) {
  Tensors tensors;
  save_state(tensors, prefix, state);
  write_safetensors(path, tensors);
}

/// Writes a checkpoint of one layer with its options.
template <class T, int Channels>
void save_state(const std::string& path, const std::string& prefix, const State<T, Channels>& state,
                const Options& options) {
  Tensors tensors;
  save_state(tensors, prefix, state, options);
  write_safetensors(path, tensors);
}

/// Reads a checkpoint at that path and takes one layer out of it, the one of that prefix, with the
/// options in the file. Cost: one read of the whole file.
/// @throws std::runtime_error also when there are none: epsilon has no default.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const std::string& path, const std::string& prefix) {
  return load_state<T, Channels>(read_safetensors(path), prefix);
}

/// The same with the options of the layer.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const std::string& path, const std::string& prefix,
                              const Options& options) {
  return load_state<T, Channels>(read_safetensors(path), prefix, options);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_HPP
