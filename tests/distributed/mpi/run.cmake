# SPDX-License-Identifier: MIT
# cmake -DEXIT=codes -DSECONDS=most -DSAYS=pattern -P run.cmake -- command
# Runs a command and looks at its exit code (a regular expression), how long it took, and what it
# said.
cmake_minimum_required(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/../../support/arguments.cmake")

string(TIMESTAMP start "%s" UTC)
execute_process(COMMAND ${arguments} RESULT_VARIABLE code OUTPUT_VARIABLE output
                ERROR_VARIABLE errors TIMEOUT 110)
string(TIMESTAMP end "%s" UTC)
math(EXPR seconds "${end} - ${start}")
message(STATUS "exit code ${code} after ${seconds} s\n${output}${errors}")
if(NOT code MATCHES "^(${EXIT})$")
  message(SEND_ERROR "exit code ${code}, expected ${EXIT}")
endif()
if(seconds GREATER SECONDS)
  message(SEND_ERROR "took ${seconds} s, expected at most ${SECONDS}")
endif()
if(NOT "${output}${errors}" MATCHES "${SAYS}")
  message(SEND_ERROR "did not say: ${SAYS}")
endif()
