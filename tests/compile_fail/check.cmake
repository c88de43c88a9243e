# SPDX-License-Identifier: MIT
# cmake -DCASE=file.cpp -P check.cmake -- compiler and its arguments
# The mistake of a case must not compile, and the compiler must say what the case expects.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/arguments.cmake")

file(STRINGS "${CASE}" expected REGEX "^// expected: batchnorm: ")
string(REPLACE "// expected: " "" expected "${expected}")
if(expected STREQUAL "")
  message(FATAL_ERROR "${CASE} has no line '// expected: batchnorm: ...'")
endif()

execute_process(COMMAND ${arguments} -DWRONG "${CASE}" RESULT_VARIABLE result ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "the mistake compiles")
endif()
if(NOT output MATCHES "error: static[_ ]assert[^\n]*${expected}")
  message(FATAL_ERROR "the compiler stops, but not with \"${expected}\":\n${output}")
endif()
