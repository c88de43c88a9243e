# SPDX-License-Identifier: MIT
# cmake -DUNIT=unit.cpp -P write_unit.cmake -- test files
# Makes one translation unit of several test files, each in a namespace of its own, so that names
# that two of them have in common do not meet. What they include comes first, outside of all
# namespaces: their own #include lines then find it included.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/arguments.cmake")

set(includes)
set(files "")
set(number 0)
foreach(file IN LISTS arguments)
  # What a file includes on some systems only is not there on others.
  file(STRINGS "${file}" lines REGEX "^#include ")
  list(TRANSFORM lines REPLACE "^#include ([<\"][^>\"]+[>\"]).*"
       "#if __has_include(\\1)\n#include \\1\n#endif\n")
  list(APPEND includes ${lines})
  math(EXPR number "${number} + 1")
  string(APPEND files "namespace file_${number} {\n#include \"${file}\"\n}\n")
endforeach()
list(REMOVE_DUPLICATES includes)
list(JOIN includes "" includes)
file(WRITE "${UNIT}" "${includes}\n${files}")
