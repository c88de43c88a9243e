# SPDX-License-Identifier: MIT
# For scripts: run(command...) ends the script where the command fails.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "this failed with ${result}: ${ARGN}")
  endif()
endfunction()
