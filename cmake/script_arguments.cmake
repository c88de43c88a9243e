# SPDX-License-Identifier: MIT
# For scripts: -DNAME=VALUE behind the script counts as well as before -P.
math(EXPR last_argument "${CMAKE_ARGC} - 1")
foreach(at RANGE ${last_argument})
  if("${CMAKE_ARGV${at}}" MATCHES "^-D([A-Za-z0-9_]+)(:[A-Z]+)?=(.*)$")
    set(${CMAKE_MATCH_1} "${CMAKE_MATCH_3}")
  endif()
endforeach()
