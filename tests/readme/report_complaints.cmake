# SPDX-License-Identifier: MIT
# cmake -DCOMPLAINTS=file -P report_complaints.cmake
cmake_minimum_required(VERSION 3.22)

file(READ "${COMPLAINTS}" complaints)
if(NOT complaints STREQUAL "")
  message(FATAL_ERROR "${complaints}")
endif()
