# SPDX-License-Identifier: MIT
# Tries ONNX models in ONNX Runtime, as they are and with their norms folded, and the digits network
# of 02_digits --save net.onnx:
#
#   cmake -P cmake/onnx.cmake MODEL.onnx ...
#
#   -DBUILD_DIR=folder   where to build, and to install ONNX Runtime (build/onnx in the source tree)
#   -DINSTALL=OFF or ON  whether to install missing Debian packages, which by default only root does
#                        (prerequisites.cmake)
#
# ONNX Runtime is the package onnxruntime-node of npm. Without npm, or without ONNX for C++, nothing
# is run, and a line says so. What is compared, and how far it may differ: tests/examples/onnx_pairs.cpp
# and onnx_runtime.mjs.
cmake_minimum_required(VERSION 3.22)

set(onnxruntime_version 1.30.0)
include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/onnx")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)
file(MAKE_DIRECTORY "${BUILD_DIR}/node")

set(models)
math(EXPR last_argument "${CMAKE_ARGC} - 1")
foreach(at RANGE ${last_argument})
  if("${CMAKE_ARGV${at}}" MATCHES "[.]onnx$")
    get_filename_component(model "${CMAKE_ARGV${at}}" ABSOLUTE)
    list(APPEND models "${model}")
  endif()
endforeach()

find_program(npm npm)
find_program(node NAMES node nodejs)
if(NOT npm OR NOT node)
  say("left out: models in ONNX Runtime, because npm is not here")
  return()
endif()
# Its install script only fetches what is for graphics cards.
execute_process(COMMAND "${npm}" install --ignore-scripts --no-audit --no-fund
                        "onnxruntime-node@${onnxruntime_version}"
                WORKING_DIRECTORY "${BUILD_DIR}/node" RESULT_VARIABLE failed OUTPUT_QUIET)
if(NOT failed EQUAL 0)
  say("left out: models in ONNX Runtime, because npm could not install onnxruntime-node")
  return()
endif()

if(NOT DEFINED CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
prepare()
set(missing)
look_for_header(libonnx-dev onnx/onnx_pb.h)
look_for_header(libprotobuf-dev google/protobuf/message.h)
if(missing)
  install_missing()
endif()
configure_and_build("${BUILD_DIR}" example_02_digits -DBATCHNORM_BUILD_TESTS=OFF)
file(STRINGS "${BUILD_DIR}/CMakeCache.txt" proto REGEX "^BATCHNORM_ONNX_PROTO_LIBRARY:.*NOTFOUND")
if(proto)
  say("left out: models in ONNX Runtime, because libonnx-dev is not here")
  return()
endif()
configure_and_build("${BUILD_DIR}" onnx_pairs)

set(work "${BUILD_DIR}/models")
file(REMOVE_RECURSE "${work}")
set(net "${BUILD_DIR}/net")
execute_process(COMMAND "${BUILD_DIR}/examples/02_digits" --epochs 5 --save "${net}.safetensors"
                RESULT_VARIABLE failed OUTPUT_QUIET)
execute_process(COMMAND "${BUILD_DIR}/examples/02_digits" --epochs 5 --save "${net}.onnx"
                RESULT_VARIABLE failed_too OUTPUT_QUIET)
if(failed OR failed_too)
  message(FATAL_ERROR "02_digits did not save its network")
endif()
execute_process(COMMAND "${BUILD_DIR}/examples/onnx_pairs" "${work}"
                        --digits "${net}.safetensors" drawn "${net}.onnx" ${models}
                RESULT_VARIABLE failed)
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "onnx_pairs failed with ${failed}")
endif()
execute_process(COMMAND "${node}" "${source_dir}/tests/examples/onnx_runtime.mjs" "${work}"
                        "${BUILD_DIR}/node/node_modules" RESULT_VARIABLE failed)
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "ONNX Runtime gives other outputs")
endif()
