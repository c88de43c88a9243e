# SPDX-License-Identifier: MIT
# The target batchnorm::onnx, for include/batchnorm/io/onnx.hpp: batchnorm::batchnorm, protobuf, the
# schema of ONNX as a library (Debian: libonnx-dev, libprotobuf-dev) and nlohmann/json. Part of this
# build with BATCHNORM_ONNX where all of these are found, and of installed ones as
# find_package(batchnorm COMPONENTS onnx).

find_package(Protobuf QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json CONFIG QUIET)
endif()
find_path(BATCHNORM_ONNX_INCLUDE_DIR onnx/onnx_pb.h)
find_library(BATCHNORM_ONNX_PROTO_LIBRARY onnx_proto)
mark_as_advanced(BATCHNORM_ONNX_INCLUDE_DIR BATCHNORM_ONNX_PROTO_LIBRARY)
if(TARGET protobuf::libprotobuf AND TARGET nlohmann_json::nlohmann_json
   AND BATCHNORM_ONNX_INCLUDE_DIR AND BATCHNORM_ONNX_PROTO_LIBRARY AND NOT TARGET batchnorm::onnx)
  add_library(batchnorm::onnx INTERFACE IMPORTED GLOBAL)
  target_link_libraries(batchnorm::onnx INTERFACE
    batchnorm::batchnorm "${BATCHNORM_ONNX_PROTO_LIBRARY}" protobuf::libprotobuf
    nlohmann_json::nlohmann_json)
  target_include_directories(batchnorm::onnx SYSTEM INTERFACE "${BATCHNORM_ONNX_INCLUDE_DIR}")
  # The schema asks for both; Debian has the one with the types of ONNX-ML only.
  target_compile_definitions(batchnorm::onnx INTERFACE ONNX_NAMESPACE=onnx ONNX_ML=1)
endif()
