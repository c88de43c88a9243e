# SPDX-License-Identifier: MIT
# cmake -DPROGRAM=file -DNAME=07_estimators -DFOLDER=folder -P picture_cli.cmake
# What the examples with --csv and --plot write, say and return: with gnuplot, without it, with one
# that fails, and for names of files that a shell or gnuplot would take for commands. gnuplot is
# played by a script that keeps what it is sent. FOLDER is emptied and filled.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}/none" "${FOLDER}/good" "${FOLDER}/bad")

# expect(exit code, regular expression for the errors, folder of programs, arguments)
function(expect code error_regex programs)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env "PATH=${FOLDER}/${programs}" "${PROGRAM}" ${ARGN}
                  WORKING_DIRECTORY "${FOLDER}" RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE error)
  if(NOT result STREQUAL code)
    message(SEND_ERROR "${NAME} ${ARGN}: expected exit code ${code}, got ${result}\n${error}")
  endif()
  if(NOT error MATCHES "${error_regex}")
    message(SEND_ERROR "${NAME} ${ARGN}: expected message ${error_regex}, got\n${error}")
  endif()
endfunction()

# ---- the command line

expect(0 "^$" none --help)
expect(2 "unknown option --save\n${NAME} --help" none --save net.safetensors)
expect(2 "--plot needs a value" none --plot)
expect(2 "cannot save nowhere/a[.]csv: there is no folder nowhere" none --csv nowhere/a.csv)
expect(2 "cannot save nowhere/a[.]svg: there is no folder nowhere" none --plot nowhere/a.svg)
expect(2 "cannot open nowhere[.]csv: " none --data nowhere.csv)

# ---- the table

expect(0 "^$" none --csv numbers.csv)
file(STRINGS "${FOLDER}/numbers.csv" lines)
list(LENGTH lines count)
list(POP_FRONT lines header)
string(REGEX REPLACE "[^,]" "" commas "${header}")
if(count LESS 5 OR NOT header MATCHES "^[a-z_]+(,[a-z_]+)+$")
  message(SEND_ERROR "numbers.csv has ${count} lines, the first is ${header}")
endif()
foreach(line IN LISTS lines)
  string(REGEX REPLACE "\"[^\"]*\"" "name" line "${line}")  # names may contain commas
  string(REGEX REPLACE "[^,]" "" those "${line}")
  if(NOT those STREQUAL commas OR NOT line MATCHES "^[^,]+(,[^,]+)+$")
    message(SEND_ERROR "numbers.csv: ${line}\nhas other columns than ${header}")
  endif()
endforeach()

# ---- the picture

expect(0 "no picture[.]svg: gnuplot, which draws it, was not found" none --plot picture.svg)
if(NOT UNIX)
  return()
endif()
file(WRITE "${FOLDER}/good/gnuplot"
     "#!/bin/sh\n[ \"$1\" = --version ] || while IFS= read -r line; do echo \"$line\"; done > sent\n")
file(WRITE "${FOLDER}/bad/gnuplot" "#!/bin/sh\n[ \"$1\" = --version ]\n")
file(CHMOD "${FOLDER}/good/gnuplot" "${FOLDER}/bad/gnuplot"
     PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
expect(2 "gnuplot could not draw" bad --plot picture.svg)
expect(2 "control character" good --plot "two\nlines.svg")
foreach(name IN ITEMS "|echo > ran" "~a.svg" "it's `echo > ran` $(echo > ran).svg")
  expect(0 "^$" good --plot "${name}")
  file(READ "${FOLDER}/sent" sent)
  string(REPLACE "'" "''" in_quotes "${FOLDER}/${name}")
  string(FIND "${sent}" "set output '${in_quotes}'\n" at)
  if(at EQUAL -1 OR NOT sent MATCHES "\\$rows << end_of_rows\n[^\n]+\n.*end_of_rows\nplot [$]rows")
    message(SEND_ERROR "for ${name} gnuplot was sent\n${sent}")
  endif()
endforeach()
if(EXISTS "${FOLDER}/ran")
  message(SEND_ERROR "the name of a file was run as a command")
endif()
