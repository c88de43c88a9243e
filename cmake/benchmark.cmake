# SPDX-License-Identifier: MIT
# Installs what is missing, builds the benchmark with -O2 and runs it: a sample of the rows in three
# minutes, or all.
#
#   cmake -P cmake/benchmark.cmake [-- arguments]
#
#   --full              all rows
#   --filter=text       all rows whose name contains the text
#   --rows-only         the table and nothing else
#   --smoke             two rows, hardly measured: whether everything builds, works and is right
#   --large             more than 2^31 elements instead, which takes 4.3 GB
#   --accuracy          errors of mean, variance and output instead, of all in two minutes
#   --against=COMMIT    this tree and another commit by turns, in one process, instead: all rows in
#                       a few minutes, or those of --filter. Fails when one has become slower
#   --seconds=0.3       how long, for each row of that
#   -DRESULTS_DIR=dir   where results.json, report.md and chart.svg go, or accuracy.json and
#                       accuracy.md (results in BUILD_DIR)
#   -DBUILD_DIR=folder  where to build (build/benchmark in the source tree)
#   -DINSTALL=OFF or ON     whether to install missing Debian packages, rivals included; by default
#                           only root does (prerequisites.cmake)
#   -DBATCHNORM_BENCHMARK_FLAGS=-O0  to see whether it works in less time (-O2)
#   -DCMAKE_CXX_COMPILER= CMAKE_CXX_FLAGS= CMAKE_PREFIX_PATH=  as usual
#
# Fails when a row is slower than a rival by more than the noise, or less accurate than promised.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/benchmark")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)
if(NOT RESULTS_DIR)
  set(RESULTS_DIR "${BUILD_DIR}/results")
endif()
get_filename_component(RESULTS_DIR "${RESULTS_DIR}" ABSOLUTE)

set(programs benchmarks_memory benchmarks)
set(arguments)
set(against)
foreach(at RANGE ${last_argument})
  set(argument "${CMAKE_ARGV${at}}")
  if(argument MATCHES "^--(large|accuracy)$")
    set(programs benchmarks_${CMAKE_MATCH_1})
  elseif(argument MATCHES "^--against=(.+)")
    set(against "${CMAKE_MATCH_1}")
    set(programs benchmarks_compare)
  elseif(argument MATCHES "^--.")
    list(APPEND arguments "${argument}")
  endif()
endforeach()

set(targets ${programs})
if("--smoke" IN_LIST arguments AND NOT against)
  set(programs benchmarks_memory benchmarks benchmarks_accuracy benchmarks_compare)
  set(targets ${programs} benchmarks_large)
endif()

# Rivals and the drawing program are left out where they cannot be had. One by one, so that one
# that a system does not know takes no other with it.
function(install_if_possible)
  foreach(package IN LISTS ARGN)
    set(missing ${package})
    install_missing()
  endforeach()
endfunction()

# Unpacks that commit and sets other_tree to where it is.
function(unpack commit)
  find_package(Git QUIET REQUIRED)
  execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${source_dir}" rev-parse --verify --quiet
                          "${commit}^{commit}" OUTPUT_VARIABLE id OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(id STREQUAL "")
    message(FATAL_ERROR "there is no commit ${commit} in ${source_dir}")
  endif()
  set(tree "${BUILD_DIR}/against/${id}")
  if(NOT EXISTS "${tree}/include")
    file(MAKE_DIRECTORY "${tree}")
    execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${source_dir}" archive "--output=${tree}.tar"
                            "${id}" include tests/benchmarks COMMAND_ERROR_IS_FATAL ANY)
    file(ARCHIVE_EXTRACT INPUT "${tree}.tar" DESTINATION "${tree}")
  endif()
  set(other_tree "${tree}" PARENT_SCOPE)
endfunction()

prepare(WITH_BENCHMARKS)
set(other_tree)
if(against)
  unpack("${against}")
elseif(NOT programs STREQUAL "benchmarks_large" AND NOT "--smoke" IN_LIST arguments)
  set(missing)
  look_for_header(libdnnl-dev oneapi/dnnl/dnnl.hpp)
  look_for_header(libtorch-dev ATen/ops/native_batch_norm.h)
  if(benchmarks IN_LIST programs)
    look_for_program(gnuplot-nox gnuplot)
  endif()
  install_if_possible(${missing})
endif()
configure_and_build("${BUILD_DIR}" "${targets}"
  "-DBATCHNORM_BENCHMARK_FLAGS=${BATCHNORM_BENCHMARK_FLAGS}"
  "-DBATCHNORM_BENCHMARK_AGAINST=${other_tree}"
  -DBATCHNORM_BUILD_BENCHMARKS=ON -DBATCHNORM_BUILD_TESTS=OFF -DBATCHNORM_BUILD_EXAMPLES=OFF)

function(run name)
  find_program(program_${name} ${name} NO_DEFAULT_PATH REQUIRED
               PATHS "${BUILD_DIR}/tests/benchmarks" "${BUILD_DIR}/tests/benchmarks/Release")
  execute_process(COMMAND "${program_${name}}" ${ARGN} RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "${name} ends with ${failed}")
  endif()
endfunction()

foreach(program IN LISTS programs)
  if(program MATCHES "memory|large")
    run(${program})
  elseif(program STREQUAL "benchmarks_compare")
    set(sides "${BUILD_DIR}/tests/benchmarks/benchmarks_now.so")
    if(against)
      list(PREPEND sides "${BUILD_DIR}/tests/benchmarks/benchmarks_before.so")
    else()
      list(APPEND sides ${sides})
    endif()
    run(${program} ${sides} ${arguments})
  else()
    file(MAKE_DIRECTORY "${RESULTS_DIR}")
    run(${program} "--results=${RESULTS_DIR}" ${arguments})
  endif()
endforeach()
