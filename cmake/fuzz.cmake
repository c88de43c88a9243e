# SPDX-License-Identifier: MIT
# Builds the fuzz targets, runs each over its corpus, and then lets each look for new inputs:
#
#   cmake -P cmake/fuzz.cmake
#
#   -DSECONDS=60         how long to look for new inputs, all targets together; 0: the corpus only
#   -DINSTALL=OFF or ON  whether to install clang, its fuzzing runtime and what else is missing, which
#                        by default only root does (prerequisites.cmake)
#   -DBUILD_DIR=folder   where to build (build/fuzz in the source tree)
#   -DCMAKE_PREFIX_PATH= as usual
#
# Inputs are chosen without libFuzzer's entropic schedule, and allocations keep no stack and a short
# quarantine: on one core that is 15000 inputs in 1.0 s instead of 3.0 s for fuzz_onnx, and in 1.9 s
# instead of 3.5 s for fuzz_tfjs (-runs=15000 with and without), at the same coverage within a few
# places. An input that crashes is left in the folder of the build. Without clang and its libFuzzer
# nothing is run, and a line says so.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/fuzz")
endif()
if(NOT DEFINED SECONDS)
  set(SECONDS 60)
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)
file(MAKE_DIRECTORY "${BUILD_DIR}")

# Sets `works` when clang is here and links programs with libFuzzer, else `major` to its version.
function(try_libfuzzer)
  set(works FALSE PARENT_SCOPE)
  find_program(clang NAMES clang++ NO_CACHE)
  if(NOT clang)
    return()
  endif()
  set(clang "${clang}" PARENT_SCOPE)
  set(probe "${BUILD_DIR}/probe")
  file(WRITE "${probe}.cpp" "extern \"C\" int LLVMFuzzerTestOneInput(const unsigned char*, "
                            "decltype(sizeof 0)) { return 0; }\n")
  execute_process(COMMAND "${clang}" -fsanitize=fuzzer,address,undefined "${probe}.cpp"
                          -o "${probe}" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(failed EQUAL 0)
    set(works TRUE PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND "${clang}" -dumpversion OUTPUT_VARIABLE version)
  string(REGEX MATCH "^[0-9]+" version "${version}")
  set(major "${version}" PARENT_SCOPE)
endfunction()

try_libfuzzer()
if(NOT works)
  set(missing "libclang-rt-${major}-dev")
  if(NOT clang)
    set(missing clang)
  endif()
  install_missing()
  try_libfuzzer()
endif()
if(NOT works)
  say("left out: the fuzz targets, because clang++ with libFuzzer is not here")
  return()
endif()

set(CMAKE_CXX_COMPILER "${clang}")
set(targets safetensors index models tfjs)
prepare()
configure_and_build("${BUILD_DIR}" all -DBATCHNORM_BUILD_FUZZERS=ON -DBATCHNORM_BUILD_TESTS=OFF
                    -DBATCHNORM_BUILD_EXAMPLES=OFF -DBATCHNORM_INSTALL=OFF)

# The reader of ONNX models is tried where protobuf and ONNX are.
if(EXISTS "${BUILD_DIR}/tests/fuzz/fuzz_onnx")
  list(APPEND targets onnx)
else()
  say("left out: fuzz_onnx, because libonnx-dev is not here")
endif()

# run(command...): a crash ends everything, and its input stays. Programs that are separated by
# COMMAND run at the same time.
function(run)
  execute_process(COMMAND ${ARGN} RESULTS_VARIABLE results OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  list(REMOVE_ITEM results 0)
  if(results)
    message(FATAL_ERROR "a fuzz target failed: ${results}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

string(CONCAT sanitizers "ASAN_OPTIONS=malloc_context_size=0:quarantine_size_mb=8:"
       "thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=-1")
list(LENGTH targets number)
math(EXPR seconds "(${SECONDS} + ${number} - 1) / ${number}")
set(searches)
foreach(target IN LISTS targets)
  set(corpus "${source_dir}/tests/fuzz/corpus/${target}")
  file(GLOB inputs "${corpus}/*")
  list(LENGTH inputs count)
  if(count EQUAL 0)
    message(FATAL_ERROR "no corpus in ${corpus}")
  endif()
  set(program "${CMAKE_COMMAND}" -E env "${sanitizers}" "${BUILD_DIR}/tests/fuzz/fuzz_${target}"
      -timeout=10 -malloc_limit_mb=256 -entropic=0 "-artifact_prefix=${BUILD_DIR}/${target}-")
  run(${program} ${inputs})
  say("fuzz_${target}: ${count} inputs of the corpus")
  # What is found goes to the first folder.
  file(MAKE_DIRECTORY "${BUILD_DIR}/found/${target}")
  list(APPEND searches COMMAND ${program} -max_total_time=${seconds} -max_len=4096
       -print_final_stats=1 "${BUILD_DIR}/found/${target}" "${corpus}")
endforeach()
if(SECONDS GREATER 0)
  list(POP_FRONT searches)
  run(${searches})
  string(REGEX MATCHALL "number_of_executed_units: *[0-9]+" executed "${output}")
  string(REGEX REPLACE "number_of_executed_units: *" "" executed "${executed}")
  list(JOIN executed " and " executed)
  say("fuzz targets: ${executed} more inputs in ${seconds} seconds each")
endif()
