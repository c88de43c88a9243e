# SPDX-License-Identifier: MIT
# cmake -DTREE=source -DWORK=folder -P check.cmake
# Lets docs.cmake look at lacking.hpp: it must fail, and name what each name there lacks.
cmake_minimum_required(VERSION 3.22)

execute_process(COMMAND "${CMAKE_COMMAND}" -DINSTALL=OFF "-DHEADERS=${TREE}/tests/docs"
                        "-DBUILD_DIR=${WORK}" -P "${TREE}/cmake/docs.cmake"
                RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(output MATCHES "left out: the reference")
  message("${output}")
  return()
endif()
if(result EQUAL 0)
  message(FATAL_ERROR "nothing was found to be lacking:\n${output}")
endif()
if(NOT output MATCHES "no_member_description [^\n]*is not documented")
  message(SEND_ERROR "Doxygen's own warnings are not shown")
endif()
string(REGEX MATCHALL "[a-z_]+ lacks [a-z :]+" found "${output}")
set(expected
    "no_cost lacks cost"
    "no_description lacks description"
    "no_errors lacks errors"
    "no_errors_although_it_throws lacks errors"
    "no_errors_in_its_class lacks errors"
    "no_member_description lacks description"
    "no_member_description lacks unit"
    "no_parameter lacks parameter: input"
    "no_shapes lacks shapes"
    "no_source lacks source"
    "no_thread_safety lacks thread safety"
    "no_type_of_error lacks errors"
    "no_unit lacks unit"
    "no_value_description lacks description")
list(SORT found)
if(NOT found STREQUAL expected)
  message(SEND_ERROR "expected\n${expected}\ngot\n${found}\nof\n${output}")
endif()
