// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_FILE_KIND_HPP
#define BATCHNORM_IO_FILE_KIND_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// Other kinds of files in which networks are kept. None is read here; each is recognised by its
// first bytes, so that the error can say what it is and how its tensors get into a safetensors
// file, and a program can call the reader for it.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Which of the library's readers takes files of a kind.
enum class FileReader { none, keras, onnx, tfjs, audio_json };

struct FileKind {
  const char* what;
  const char* way;  ///< at most two lines, in Python where that is said
  FileReader reader = FileReader::none;
};

inline constexpr FileKind kind_pytorch{"a checkpoint of PyTorch (pickle)",
                                       "in Python: import torch, safetensors.torch\n"
                                       "safetensors.torch.save_file(torch.load(path, \"cpu\", "
                                       "weights_only=True), \"net.safetensors\")"};
inline constexpr FileKind kind_pickle{
    "a pickle, of Paddle or of another program in Python",
    "in Python: import safetensors.numpy; load it with the program that wrote it, then\n"
    "safetensors.numpy.save_file({name: numpy array, ...}, \"net.safetensors\")"};
inline constexpr FileKind kind_numpy{
    "arrays of NumPy (npz)",
    "in Python: import numpy, safetensors.numpy\n"
    "safetensors.numpy.save_file(dict(numpy.load(path)), \"net.safetensors\")"};
inline constexpr FileKind kind_array{
    "one array of NumPy (npy)",
    "in Python: import numpy, safetensors.numpy\n"
    "safetensors.numpy.save_file({\"name\": numpy.load(path)}, \"net.safetensors\")"};
inline constexpr FileKind kind_keras{
    "an archive of Keras 3",
    "read it with read_keras (batchnorm/io/keras.hpp), or take the file model.weights.h5 out of it "
    "with unzip; that is HDF5",
    FileReader::keras};
inline constexpr FileKind kind_zip{"a zip archive", "unpack it and take the weights out of it"};
inline constexpr FileKind kind_hdf5{
    "HDF5, as Keras writes it",
    "read it with read_keras (batchnorm/io/keras.hpp), or "
    "in Python: import h5py, safetensors.numpy; d = {}; f = h5py.File(path)\n"
    "f.visititems(lambda k, v: d.update({k: v[()]} if hasattr(v, \"shape\") else {})); "
    "safetensors.numpy.save_file(d, \"net.safetensors\")",
    FileReader::keras};
inline constexpr FileKind kind_gguf{
    "GGUF, of llama.cpp",
    "in Python: import gguf, safetensors.numpy\nsafetensors.numpy.save_file({t.name: t.data.copy() "
    "for t in gguf.GGUFReader(path).tensors}, \"net.safetensors\")"};
inline constexpr FileKind kind_protobuf{
    "a protobuf, as ONNX is",
    "include batchnorm/io/onnx.hpp and call read_onnx; or, in Python: import onnx, "
    "safetensors.numpy; to = onnx.numpy_helper.to_array\n"
    "safetensors.numpy.save_file({t.name: to(t) for t in onnx.load(path).graph.initializer}, "
    "\"net.safetensors\")",
    FileReader::onnx};
inline constexpr FileKind kind_graph{
    "a protobuf, as frozen graphs of TensorFlow and models of Caffe are",
    "load it with that program, then in Python: import safetensors.numpy\n"
    "safetensors.numpy.save_file({name: numpy array, ...}, \"net.safetensors\")"};
inline constexpr FileKind kind_tflite{
    "a model of TensorFlow Lite",
    "its batch norms are folded into other layers; take the model that it was made from"};
inline constexpr FileKind kind_tensorflow{
    "an index of a checkpoint of TensorFlow",
    "in Python: import tensorflow as tf, safetensors.numpy; r = tf.train.load_checkpoint(path)\n"
    "safetensors.numpy.save_file({k: r.get_tensor(k) for k in r.get_variable_to_shape_map()}, "
    "\"net.safetensors\")"};
inline constexpr FileKind kind_messagepack{
    "MessagePack, as Flax writes it",
    "in Python: import flax, safetensors.flax; d = flax.serialization.msgpack_restore(bytes)\n"
    "safetensors.flax.save_file(flax.traverse_util.flatten_dict(d, sep=\"/\"), "
    "\"net.safetensors\")"};
inline constexpr FileKind kind_mxnet{
    "parameters of MXNet",
    "in Python: import mxnet, safetensors.numpy\nsafetensors.numpy.save_file({k: v.asnumpy() for "
    "k, "
    "v in mxnet.nd.load(path).items()}, \"net.safetensors\")"};
inline constexpr FileKind kind_gzip{"a file compressed by gzip", "unpack it with gunzip"};
inline constexpr FileKind kind_pointer{"a pointer of Git LFS, not the file itself",
                                       "fetch the file with git lfs pull"};
inline constexpr FileKind kind_html{"a page of the web", "download the file itself"};
inline constexpr FileKind kind_json{
    "JSON",
    "an index of shards is opened by a name that ends in .json, the shards lying beside it"};
inline constexpr FileKind kind_tensorflowjs{
    "a model of TensorFlow.js",
    "include batchnorm/io/tfjs.hpp and call open_tfjs; or tensorflowjs_converter --input_format "
    "tfjs_layers_model --output_format keras model.json "
    "net.h5\nthen the HDF5 file as open_checkpoint says for it",
    FileReader::tfjs};
inline constexpr FileKind kind_rtneural{
    "numbers in JSON, as RTNeural and NAM have them",
    "read its weights with read_audio_json (batchnorm/io/audio_json.hpp)", FileReader::audio_json};

inline bool begins_with(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

inline bool ends_with(std::string_view text, std::string_view ending) {
  return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

inline bool is_between(char byte, int least, int most) {
  const int value = static_cast<unsigned char>(byte);
  return value >= least && value <= most;
}

/// A zip archive says by its first member what it holds: its name stands behind 30 bytes, its
/// length at byte 26.
inline FileKind kind_of_zip(std::string_view bytes) {
  constexpr std::size_t name_place = 30;
  if (bytes.size() <= name_place) return kind_zip;
  const std::string_view name = bytes.substr(name_place, static_cast<unsigned char>(bytes[26]));
  if (ends_with(name, ".npy")) return kind_numpy;
  if (ends_with(name, "/data.pkl") || ends_with(name, "/version")) return kind_pytorch;
  if (name == "metadata.json" || name == "config.json" || ends_with(name, ".weights.h5")) {
    return kind_keras;
  }
  return kind_zip;
}

/// Kinds that are told by a few bytes with any value in some range.
inline const FileKind* kind_of_first_bytes(std::string_view bytes, std::string_view path) {
  if (bytes.size() < 3) return nullptr;
  const char second = bytes[1];
  // Protocol 2 and later of pickle; the number that follows is the mark of PyTorch before 1.6.
  if (bytes[0] == '\x80' && is_between(second, 2, 5)) {
    const std::string_view mark("\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
    return bytes.substr(2, mark.size()) == mark ? &kind_pytorch : &kind_pickle;
  }
  // A map of up to 15 names, the first of which has up to 31 letters.
  if (is_between(bytes[0], 0x81, 0x8f) && is_between(second, 0xa0, 0xbf)) return &kind_messagepack;
  // Field 1, a small number (ir_version), and another field with a length, or model_version.
  const bool has_next =
      bytes[2] == '\x28' || ((bytes[2] & 7) == 2 && is_between(bytes[2], 0x12, 0x7a));
  if (bytes[0] == '\x08' && is_between(second, 1, 0x20) && has_next) return &kind_protobuf;
  if (ends_with(path, ".onnx")) return &kind_protobuf;
  if (bytes[0] == '\x0a' && (ends_with(path, ".pb") || ends_with(path, ".caffemodel"))) {
    return &kind_graph;
  }
  if (bytes[0] == '\0' && ends_with(path, ".index")) return &kind_tensorflow;
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool is_json =
      first != std::string_view::npos && (bytes[first] == '{' || bytes[first] == '[');
  return is_json ? &kind_json : nullptr;
}

/// What kind of file begins like that.
/// @param bytes  the beginning; a few hundred bytes are enough
/// @return whether it is known.
inline bool find_file_kind(std::string_view bytes, std::string_view path, FileKind& kind) {
  struct Magic {
    std::string_view bytes;
    const FileKind* kind;
  };
  const Magic magics[] = {{std::string_view("\x89HDF\r\n\x1a\n", 8), &kind_hdf5},
                          {"GGUF", &kind_gguf},
                          {"\x93NUMPY", &kind_array},
                          {"\x1f\x8b", &kind_gzip},
                          {"version https://git-lfs", &kind_pointer},
                          {"<!DOCTYPE", &kind_html},
                          {"<!doctype", &kind_html},
                          {"<html", &kind_html},
                          {std::string_view("\x12\x01\0\0\0\0\0\0", 8), &kind_mxnet}};
  for (const Magic& magic : magics) {
    if (!begins_with(bytes, magic.bytes)) continue;
    kind = *magic.kind;
    return true;
  }
  if (begins_with(bytes, "PK\x03\x04")) {
    kind = kind_of_zip(bytes);
    return true;
  }
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "TFL3") {
    kind = kind_tflite;
    return true;
  }
  const FileKind* const found = kind_of_first_bytes(bytes, path);
  if (found != nullptr) kind = *found;
  return found != nullptr;
}

[[noreturn]] inline void fail_file_kind(const FileContext& context, const FileKind& kind) {
  fail_file(context, "kind of file", "safetensors",
            text(kind.what, "; to convert it:\n", kind.way));
}

/// Whether HDF5 begins behind a block of somebody else's bytes, as MATLAB puts one in front: at 512
/// or twice as far, again and again.
inline bool has_hdf5_behind_block(std::string_view bytes) {
  for (std::size_t begin = 512; begin < bytes.size(); begin *= 2) {
    if (begins_with(bytes.substr(begin), std::string_view("\x89HDF\r\n\x1a\n", 8))) return true;
  }
  return false;
}

/// What kind of file this is, when it is not a safetensors file and known.
/// @param bytes  of the file
inline std::optional<FileKind> other_kind(std::string_view bytes, std::string_view path) {
  if (bytes.size() > safetensors_prefix_size && bytes[safetensors_prefix_size] == '{' &&
      number_at<std::uint64_t>(bytes.data()) <= safetensors_longest_header) {
    return std::nullopt;
  }
  FileKind kind{};
  if (find_file_kind(bytes, path, kind)) return kind;
  return has_hdf5_behind_block(bytes) ? std::optional<FileKind>(kind_hdf5) : std::nullopt;
}

/// What model a JSON describes, when it is not the index of shards.
inline std::optional<FileKind> other_json(std::string_view json) {
  if (json.find("\"weight_map\"") != std::string_view::npos) return std::nullopt;
  if (json.find("\"weightsManifest\"") != std::string_view::npos) return kind_tensorflowjs;
  for (const char* word : {"\"in_shape\"", "\"running_var\"", "\"architecture\""}) {
    if (json.find(word) != std::string_view::npos) return kind_rtneural;
  }
  return std::nullopt;
}

/// Raises when a file is of another kind that is known, and says how to convert it.
/// @param bytes  the beginning of the file
inline void refuse_other_kinds(const FileContext& context, std::string_view bytes) {
  const std::optional<FileKind> kind = other_kind(bytes, context.file);
  if (kind) fail_file_kind(context, *kind);
}

/// Raises when a file that was opened as an index is the description of a model.
inline void refuse_other_json(const FileContext& context, std::string_view json) {
  const std::optional<FileKind> kind = other_json(json);
  if (kind) fail_file_kind(context, *kind);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_FILE_KIND_HPP
