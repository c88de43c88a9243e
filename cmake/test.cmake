# SPDX-License-Identifier: MIT
# Installs what is missing, builds and runs every test:
#
#   cmake -P cmake/test.cmake
#
#   -DBATCHNORM_CONFORMANCE_DIR=folder  conformance files that are not in the tree
#   -DBATCHNORM_DIGITS_CSV=file         the UCI digits
#   -DBATCHNORM_TEST_FILTER=regex       only the unit tests whose name matches
#   -DBATCHNORM_TEST_APART=ON           each of them as a program of its own: soon built for a few
#   -DBATCHNORM_TEST_INSTRUCTION_SET=baseline  the unit tests without AVX2, as on processors without
#                                       it; avx2: with AVX2, but without AVX-512
#   -DBUILD_DIR=folder                  where to build (build/test in the source tree)
#   -DINSTALL=OFF or ON                 whether to install missing Debian packages, which by default
#                                       only root does (prerequisites.cmake)
#   -DCMAKE_CXX_COMPILER= CMAKE_CXX_FLAGS= CMAKE_CXX_STANDARD= CMAKE_PREFIX_PATH=  as usual
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/test")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)

# All of them are passed on, also when empty: an earlier run must not decide for this one.
set(arguments "-DBATCHNORM_TEST_FILTER=${BATCHNORM_TEST_FILTER}" -DBATCHNORM_BUILD_EXAMPLES=ON)
if(NOT BATCHNORM_TEST_APART)
  set(BATCHNORM_TEST_APART OFF)
endif()
list(APPEND arguments "-DBATCHNORM_TEST_APART=${BATCHNORM_TEST_APART}")
if(NOT BATCHNORM_TEST_INSTRUCTION_SET)
  set(BATCHNORM_TEST_INSTRUCTION_SET best)
endif()
list(APPEND arguments "-DBATCHNORM_TEST_INSTRUCTION_SET=${BATCHNORM_TEST_INSTRUCTION_SET}")
if(BATCHNORM_TEST_FILTER)
  list(APPEND arguments -DBATCHNORM_BUILD_EXAMPLES=OFF)
endif()
foreach(name IN ITEMS BATCHNORM_CONFORMANCE_DIR BATCHNORM_DIGITS_CSV)
  if(${name})
    get_filename_component(${name} "${${name}}" ABSOLUTE)
    if(NOT EXISTS "${${name}}")
      message(FATAL_ERROR "${name} does not exist: ${${name}}")
    endif()
  endif()
  list(APPEND arguments "-D${name}=${${name}}")
endforeach()

prepare(WITH_TESTS)
configure_and_build("${BUILD_DIR}" all -DBATCHNORM_BUILD_TESTS=ON ${arguments})

set(log "${BUILD_DIR}/ctest.log")
set(outputs "${BUILD_DIR}/ctest.xml")
execute_process(COMMAND "${CMAKE_CTEST_COMMAND}" --test-dir "${BUILD_DIR}" --parallel ${cores}
                        --output-on-failure --no-tests=error --output-log "${log}"
                        --output-junit "${outputs}" --test-output-size-passed 100000
                RESULT_VARIABLE failed)
file(STRINGS "${log}" closing REGEX "tests passed, .* tests failed out of")
if(NOT failed EQUAL 0 OR closing STREQUAL "")
  message(FATAL_ERROR "the tests failed: ${closing}")
endif()
# What a test had no data or no library for, it says itself; ctest hides the output of what passes.
# Not from LastTest.log: a test that calls ctest for this folder writes that anew.
file(STRINGS "${outputs}" left_out REGEX "left out: ")
foreach(line IN LISTS left_out)
  string(STRIP "${line}" line)
  say("${line}")
endforeach()
say("${closing}")
