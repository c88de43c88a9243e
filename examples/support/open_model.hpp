// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_OPEN_MODEL_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_OPEN_MODEL_HPP

#include <batchnorm/io/audio_json.hpp>
#include <batchnorm/io/checkpoint.hpp>
#include <batchnorm/io/tfjs.hpp>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#ifdef BATCHNORM_EXAMPLES_WITH_KERAS
#include <batchnorm/io/keras.hpp>
#endif
#ifdef BATCHNORM_EXAMPLES_WITH_ONNX
#include <batchnorm/io/onnx.hpp>
#endif

// Files of any kind that the library reads, told by what is in them.

namespace example {

using batchnorm::detail::FileReader;

/// The reader for a file; none for safetensors and for what no reader takes.
inline FileReader reader_of(const std::string& path) {
  const auto file = batchnorm::detail::map_file({"open_checkpoint", path});
  const std::string_view bytes = batchnorm::detail::text_of(file);
  const auto kind = batchnorm::detail::is_index_name(path)
                        ? batchnorm::detail::other_json(bytes)
                        : batchnorm::detail::other_kind(bytes, path);
  return kind ? kind->reader : FileReader::none;
}

[[noreturn]] inline void fail_not_built(const std::string& path, const char* what,
                                        const char* package) {
  throw std::runtime_error(path + ": " + what + "; this program was built without " + package +
                           ", which is needed to read it");
}

/// The tensors of a file, with the epsilon of every layer where the file has it.
inline batchnorm::Tensors open_model(const std::string& path) {
  switch (reader_of(path)) {
    case FileReader::keras:
#ifdef BATCHNORM_EXAMPLES_WITH_KERAS
      return batchnorm::read_keras(path);
#else
      fail_not_built(path, "a model of Keras", "HDF5 (libhdf5-dev)");
#endif
    case FileReader::tfjs:
      return batchnorm::open_tfjs(path);
    case FileReader::audio_json:
      return batchnorm::read_audio_json(path);
    case FileReader::onnx:
    case FileReader::none:
      break;
  }
  return batchnorm::open_checkpoint(path);
}

/// Prints the norms of an ONNX model.
/// @return how many of them have an error
inline std::size_t inspect_onnx(const std::string& path) {
#ifdef BATCHNORM_EXAMPLES_WITH_ONNX
  const std::vector<batchnorm::OnnxBatchNorm> norms =
      batchnorm::find_batch_norms(batchnorm::read_onnx(path));
  if (norms.empty()) throw std::runtime_error(path + ": no batch norm is in this file");
  std::fputs(batchnorm::inspect(norms).c_str(), stdout);
  std::size_t wrong = 0;
  for (const batchnorm::OnnxBatchNorm& norm : norms) wrong += norm.report.errors() > 0 ? 1 : 0;
  return wrong;
#else
  fail_not_built(path, "an ONNX model", "protobuf and ONNX (libonnx-dev, libprotobuf-dev)");
#endif
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_OPEN_MODEL_HPP
