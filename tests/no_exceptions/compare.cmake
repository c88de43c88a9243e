# SPDX-License-Identifier: MIT
# cmake -DWITH=program -DWITHOUT=program -P compare.cmake
# The two builds of error_texts.cpp print the same, and all of it has the form of our messages.
cmake_minimum_required(VERSION 3.22)

foreach(build IN ITEMS WITH WITHOUT)
  execute_process(COMMAND "${${build}}" RESULT_VARIABLE result OUTPUT_VARIABLE texts_${build}
                  ERROR_VARIABLE errors)
  if(NOT result EQUAL 0 OR NOT errors STREQUAL "")
    message(FATAL_ERROR "${build} exceptions the program ends with ${result}:\n"
                        "${texts_${build}}${errors}")
  endif()
endforeach()
if(NOT texts_WITH STREQUAL texts_WITHOUT)
  message(FATAL_ERROR "with exceptions:\n${texts_WITH}\nwithout:\n${texts_WITHOUT}")
endif()

string(REPLACE ";" "," texts_WITH "${texts_WITH}")
string(REGEX MATCHALL "[^\n]+\n" lines "${texts_WITH}")
list(LENGTH lines count)
if(count LESS 10)
  message(FATAL_ERROR "only ${count} texts:\n${texts_WITH}")
endif()
foreach(line IN LISTS lines)
  if(NOT line MATCHES "^[^:]+.*: .+: expected .+, got .+\n$")
    message(FATAL_ERROR "this text does not name function, rule, expected and got:\n${line}")
  endif()
endforeach()
