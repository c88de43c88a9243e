# SPDX-License-Identifier: MIT
# Installs what is missing, builds the digits example and runs it on the data that it makes itself:
#
#   cmake -P cmake/demo.cmake
#
#   -DBUILD_DIR=folder   where to build (build/demo in the source tree)
#   -DINSTALL=OFF or ON  whether to install missing Debian packages, which by default only root does
#                        (prerequisites.cmake)
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/demo")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)
if(NOT DEFINED CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

prepare()
configure_and_build("${BUILD_DIR}" example_02_digits -DBATCHNORM_BUILD_TESTS=OFF)
find_program(digits 02_digits NO_DEFAULT_PATH REQUIRED
             PATHS "${BUILD_DIR}/examples" "${BUILD_DIR}/examples/Release")
execute_process(COMMAND "${digits}" RESULT_VARIABLE failed)
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "the example failed with ${failed}")
endif()
