# SPDX-License-Identifier: MIT
# Compiles a test program for processors of other kinds and runs it in an emulator: 64-bit ARM, and
# one that stores the highest byte first.
#
#   cmake -P cmake/cross.cmake
#
#   -DINSTALL=OFF or ON  whether to install cross compilers, the emulator and what else is missing,
#                        which by default only root does (prerequisites.cmake)
#   -DBUILD_DIR=folder   where to build (build/cross in the source tree)
#
# What cannot be had is left out, and a line says so.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/cross")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)

set(missing)
look_for_header(libeigen3-dev Eigen/Core)
look_for_header(nlohmann-json3-dev nlohmann/json.hpp)
look_for_program(qemu-user-static qemu-aarch64-static qemu-aarch64)
set(processors aarch64 s390x)
foreach(processor IN LISTS processors)
  look_for_program(g++-${processor}-linux-gnu ${processor}-linux-gnu-g++)
endforeach()
if(missing)
  install_missing()
endif()

# The folder of all headers of this system would hide those of the other one.
file(MAKE_DIRECTORY "${BUILD_DIR}/include")
set(include_folders /usr/include /usr/local/include /opt/homebrew/include)
find_path(eigen NAMES Eigen/Core PATHS ${include_folders} PATH_SUFFIXES eigen3 NO_CACHE)
find_path(json NAMES nlohmann/json.hpp PATHS ${include_folders} NO_CACHE)
if(NOT eigen OR NOT json)
  say("left out: other processors, because Eigen or nlohmann/json is not here")
  return()
endif()
file(CREATE_LINK "${eigen}/Eigen" "${BUILD_DIR}/include/Eigen" SYMBOLIC)
file(CREATE_LINK "${json}/nlohmann" "${BUILD_DIR}/include/nlohmann" SYMBOLIC)

set(flags -std=c++17 -O1 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror
    -Wno-psabi -static "-I${source_dir}/include" "-I${source_dir}/tests"
    -isystem "${BUILD_DIR}/include")
set(compile)
set(run)
foreach(processor IN LISTS processors)
  find_program(compiler_${processor} ${processor}-linux-gnu-g++ NO_CACHE)
  find_program(emulator_${processor} NAMES qemu-${processor}-static qemu-${processor} NO_CACHE)
  if(NOT compiler_${processor} OR NOT emulator_${processor})
    say("left out: ${processor}, because its compiler or emulator is not here")
    continue()
  endif()
  set(program "${BUILD_DIR}/program_${processor}")
  list(APPEND compile COMMAND "${compiler_${processor}}" ${flags}
       "${source_dir}/tests/cross/program.cpp" -o "${program}")
  list(APPEND run "${processor}")
endforeach()
if(NOT run)
  return()
endif()

# Commands of one call run at the same time.
execute_process(${compile} RESULTS_VARIABLE results)
list(REMOVE_ITEM results 0)
if(results)
  message(FATAL_ERROR "the test program does not compile")
endif()
foreach(processor IN LISTS run)
  execute_process(COMMAND "${emulator_${processor}}" "${BUILD_DIR}/program_${processor}"
                  RESULT_VARIABLE failed OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE)
  say("${processor}: ${output}")
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "the test program fails on ${processor}")
  endif()
endforeach()
