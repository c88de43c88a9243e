# SPDX-License-Identifier: MIT
# cmake -DPROGRAM=file -DNUMBER=n -DEXPECTED=file -DPAGE=README.md -DTREE=source -P run_program.cmake
# Runs a program in the tree, telling it the number of its block; when there is a file with the expected
# output, the output must be that.
cmake_minimum_required(VERSION 3.22)

execute_process(COMMAND "${PROGRAM}" "${NUMBER}" WORKING_DIRECTORY "${TREE}"
                RESULT_VARIABLE result OUTPUT_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the program ends with ${result}, output:\n${output}")
endif()
if(EXISTS "${EXPECTED}")
  file(READ "${EXPECTED}" expected)
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "${PAGE} shows:\n${expected}\nthe program prints:\n${output}")
  endif()
endif()
