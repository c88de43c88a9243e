// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_MODEL_HPP
#define BATCHNORM_IO_ONNX_MODEL_HPP

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// An ONNX model in memory, as protobuf reads it. Needs protobuf and the schema of ONNX
// (onnx/onnx_pb.h, of Debian's libonnx-dev); the CMake target batchnorm::onnx has all of it.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// An ONNX model and where it comes from. A plain value.
struct OnnxModel {
  onnx::ModelProto proto;                ///< as protobuf has read it
  std::string name = "model in memory";  ///< what messages call it: the path of its file
  /// Where the files with external data lie. Empty: a model from memory, and none is read.
  std::string folder;
};

namespace detail {

/// What messages call a node: its name, or the value that it makes where it has none.
inline std::string onnx_label(const onnx::NodeProto& node) {
  if (!node.name().empty()) return node.name();
  for (const std::string& output : node.output()) {
    if (!output.empty()) return "(makes " + output + ")";
  }
  return "(without name and output)";
}

/// Every error about a node begins with the file and the node.
[[noreturn]] inline void fail_node(const FileContext& context, const std::string& node,
                                   const std::string& rule, const std::string& expected,
                                   const std::string& got) {
  fail_file(context, text("node ", in_quotes(node), ": ", rule), expected, got);
}

/// Protobuf counts bytes with an int.
inline constexpr std::uint64_t largest_onnx_file =
    static_cast<std::uint64_t>((std::numeric_limits<int>::max)());

inline OnnxModel parse_onnx(const FileContext& context, const void* bytes, std::uint64_t size) {
  if (size > largest_onnx_file) {
    fail_file(context, "bytes of the model", text("at most ", largest_onnx_file), text(size));
  }
  OnnxModel model;
  model.name = context.file;
  if (!model.proto.ParseFromArray(bytes, static_cast<int>(size))) {
    fail_file(context, "file", "a whole ONNX model (onnx.ModelProto)",
              text("what protobuf cannot read: another kind of file, one that is cut off, or one "
                   "that is nested too deeply, of ",
                   size, " bytes"));
  }
  if (!model.proto.has_graph()) {
    fail_file(context, "file", "an ONNX model with a graph", "none");
  }
  return model;
}

}  // namespace detail

/// Takes a model from memory. External data, which lie in files beside the model, are not read.
/// Cost: one pass over the bytes, which are copied.
/// @param bytes, size  the file
/// @param name  what messages call it
/// @throws std::runtime_error when the bytes are no model
inline OnnxModel parse_onnx(const void* bytes, std::size_t size, const std::string& name) {
  const detail::FileContext context{"parse_onnx", name};
  detail::check_bytes(context, bytes, size);
  return detail::parse_onnx(context, bytes, size);
}

/// Reads a model from a path. Cost: reads the file. Of external data only what is asked for is
/// read, later, from files in the folder of the model or below.
/// @throws std::runtime_error with the path when it cannot be read or is no model
inline OnnxModel read_onnx(const std::string& path) {
  const detail::FileContext context{"read_onnx", path};
  const detail::FileBytes file = detail::map_file(context);
  OnnxModel model = detail::parse_onnx(context, file.bytes.get(), file.size);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  model.folder = folder.empty() ? "." : folder.string();
  return model;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_MODEL_HPP
