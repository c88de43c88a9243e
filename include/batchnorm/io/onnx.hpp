// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_HPP
#define BATCHNORM_IO_ONNX_HPP

// ONNX models: batch norms read, folded and written. Needs protobuf and the schema of ONNX (Debian:
// libonnx-dev and libprotobuf-dev) and nlohmann/json; the CMake target is batchnorm::onnx.
//
// clang-format off
//   read_onnx, parse_onnx     a file or bytes -> OnnxModel (onnx_model.hpp)
//   find_batch_norms          every BatchNormalization node, by places of inputs (onnx_batch_norms.hpp)
//   inspect                   them as a table (onnx_inspect.hpp)
//   load_state                one of them as State and Options (onnx_batch_norms.hpp)
//   fold_batch_norms          norms into the layers beside them (onnx_fold.hpp)
//   onnx_of, add_batch_norm   layers as models and nodes (onnx_node.hpp)
//   check_onnx, write_onnx    OnnxModel -> a file (onnx_write.hpp)
// clang-format on

#include "batchnorm/io/onnx_batch_norms.hpp"
#include "batchnorm/io/onnx_fold.hpp"
#include "batchnorm/io/onnx_inspect.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_node.hpp"
#include "batchnorm/io/onnx_write.hpp"

#endif  // BATCHNORM_IO_ONNX_HPP
