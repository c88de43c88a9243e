# SPDX-License-Identifier: MIT
# cmake -DBUILD=folder -DPREFIX=where -DHEADERS=include -P install.cmake
# Installs, moves the result to where it is wanted, and compares the headers with those of the tree.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${PREFIX}" "${PREFIX} first")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${PREFIX} first"
                RESULT_VARIABLE result OUTPUT_QUIET)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "installing failed")
endif()
file(RENAME "${PREFIX} first" "${PREFIX}")

file(GLOB_RECURSE installed RELATIVE "${PREFIX}/include" "${PREFIX}/include/*")
file(GLOB_RECURSE in_tree RELATIVE "${HEADERS}" "${HEADERS}/*.hpp"
     "${HEADERS}/*.cppm")
if(NOT "${installed}" STREQUAL "${in_tree}")
  message(FATAL_ERROR "installed: ${installed}\nin the tree: ${in_tree}")
endif()

file(GLOB_RECURSE files "${PREFIX}/share/*")
foreach(file IN LISTS files)
  file(READ "${file}" text)
  foreach(baked_in IN ITEMS "${BUILD}" "${HEADERS}" "${PREFIX}")
    string(FIND "${text}" "${baked_in}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} names ${baked_in}")
    endif()
  endforeach()
endforeach()
