# SPDX-License-Identifier: MIT
# For scripts: `arguments` becomes the list of what follows -- on the command line. A semicolon
# inside an argument stays inside.

set(arguments)
set(after_dashes FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(at RANGE ${last})
  if(after_dashes)
    string(REPLACE ";" "\\;" argument "${CMAKE_ARGV${at}}")
    list(APPEND arguments "${argument}")
  elseif("${CMAKE_ARGV${at}}" STREQUAL "--")
    set(after_dashes TRUE)
  endif()
endforeach()
