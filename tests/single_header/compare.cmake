# SPDX-License-Identifier: MIT
# cmake -DTREE=source -DWORK=folder -DCOMPILER=g++ -P compare.cmake -- flags
# Writes the single header twice, from different folders, and compares the bytes; then compares what
# the preprocessor makes of it, text and macros, with what it makes of the headers of the tree.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/arguments.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(REMOVE_RECURSE "${WORK}")
set(copies one/batchnorm/batchnorm.hpp "a second/one.hpp")
foreach(copy IN LISTS copies)
  get_filename_component(folder "${WORK}/${copy}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  get_filename_component(name "${copy}" NAME)
  execute_process(COMMAND "${CMAKE_COMMAND}" -P "${TREE}/cmake/single_header.cmake"
                          "-DOUTPUT=${name}"
                  WORKING_DIRECTORY "${folder}" RESULT_VARIABLE result OUTPUT_QUIET)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "writing ${copy} failed with ${result}")
  endif()
endforeach()
list(TRANSFORM copies PREPEND "${WORK}/")
run("${CMAKE_COMMAND}" -E compare_files ${copies})

list(POP_FRONT copies single_header)
file(READ "${single_header}" text)
file(READ "${TREE}/LICENSE" licence)
string(REGEX REPLACE "\n// ?" "\n" bare "${text}")
string(FIND "${bare}" "${licence}" at)
if(NOT text MATCHES "^// SPDX-License-Identifier: MIT\n// batchnorm [0-9]+[.][0-9]+[.][0-9]+ " OR at EQUAL -1)
  message(SEND_ERROR "the file does not begin with its licence and version")
endif()
if(text MATCHES "\n#include \"([^\"]*)" OR text MATCHES "\n(#pragma once)")
  message(SEND_ERROR "the file has ${CMAKE_MATCH_1} in it")
endif()

# preprocess(include folder, result, flags...): -P leaves out where a line came from.
function(preprocess folder result)
  execute_process(COMMAND "${COMPILER}" ${arguments} "-I${folder}" -E ${ARGN}
                          "${TREE}/tests/consumers/app/main.cpp"
                  OUTPUT_FILE "${WORK}/preprocessed" RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "${COMPILER} cannot preprocess ${folder}")
  endif()
  file(READ "${WORK}/preprocessed" text)
  string(REGEX REPLACE "\n[ \n]+" "\n" text "${text}")
  string(SHA256 hash "${text}")
  set(${result} "${hash}" PARENT_SCOPE)
endfunction()
foreach(what IN ITEMS -P -dM)
  preprocess("${TREE}/include" of_tree ${what})
  preprocess("${WORK}/one" of_file ${what})
  if(NOT of_tree STREQUAL of_file)
    message(SEND_ERROR "${COMPILER} -E ${what}: the file and the headers differ")
  endif()
endforeach()
