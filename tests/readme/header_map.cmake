# SPDX-License-Identifier: MIT
# cmake -DBLOCK=file -DHEADERS=include/batchnorm -P header_map.cmake
# A text that is no program's output is a map of the headers: it names some, and all exist.
cmake_minimum_required(VERSION 3.22)

file(READ "${BLOCK}" text)
string(REGEX MATCHALL "[a-z0-9_/]+[.]hpp" names "${text}")
if(names STREQUAL "")
  message(FATAL_ERROR "this text is neither behind a program nor a map of headers:\n${text}")
endif()
foreach(name IN LISTS names)
  string(REGEX REPLACE "^(include/)?batchnorm/" "" name "${name}")
  if(NOT EXISTS "${HEADERS}/${name}")
    message(FATAL_ERROR "there is no header ${name}")
  endif()
endforeach()
