# SPDX-License-Identifier: MIT
# cmake -DBLOCK=file -DAPP=main.cpp -DWORK=folder -DTREE=source -P shell.cmake
# Runs the commands of a block in a folder with main.cpp and a copy of the tree named batchnorm.
# Three kinds of line are checked and not run: the scripts in cmake/ (a test that runs all tests
# would never end), git clone and apt (they need network). For the same reason a block that
# configures the tree itself (cmake -B without -S) runs in the copy and builds and tests one program
# of it.
cmake_minimum_required(VERSION 3.22)

file(READ "${BLOCK}" block)
string(REPLACE "\\\n" " " block "${block}")
string(REPLACE ";" "<semicolon>" block "${block}")
string(REPLACE "\n" ";" lines "${block}")

set(commands "")
foreach(line IN LISTS lines)
  string(REPLACE "<semicolon>" ";" line "${line}")
  string(REGEX REPLACE "(^|[ ]+)#.*$" "" line "${line}")
  if(line STREQUAL "")
    continue()
  elseif(line MATCHES "^cmake (.*)-P (cmake/[a-z_]+[.]cmake)(.*)$")
    set(script "${TREE}/${CMAKE_MATCH_2}")
    string(REGEX MATCHALL "-D[A-Z_]+=" definitions "${CMAKE_MATCH_1} ${CMAKE_MATCH_3}")
    if(NOT EXISTS "${script}")
      message(FATAL_ERROR "there is no ${CMAKE_MATCH_2}")
    endif()
    file(READ "${script}" text)
    foreach(definition IN LISTS definitions)
      string(FIND "${text}" "${definition}" at)
      if(at EQUAL -1)
        message(FATAL_ERROR "${script} does not know ${definition}")
      endif()
    endforeach()
  elseif(line MATCHES "^git clone https://[^ ]+( [a-z]+)?$"
         OR line MATCHES "^(sudo )?apt(-get)? install( -y)?( [a-z0-9+-]+)+$")
    message(STATUS "not run: ${line}")
  else()
    string(APPEND commands "${line}\n")
  endif()
endforeach()

if(NOT commands STREQUAL "")
  file(REMOVE_RECURSE "${WORK}")
  configure_file("${APP}" "${WORK}/main.cpp" COPYONLY)
  file(COPY "${TREE}/include" "${TREE}/cmake" "${TREE}/examples" "${TREE}/tests" "${TREE}/README.md"
       "${TREE}/CMakeLists.txt" "${TREE}/LICENSE" DESTINATION "${WORK}/batchnorm")
  set(folder "${WORK}")
  if("\n${commands}" MATCHES "\ncmake -B ")
    set(folder "${WORK}/batchnorm")
    set(one example_01_quickstart)
    string(REGEX REPLACE "(cmake --build [^ \n]+)" "\\1 --target ${one}" commands "${commands}")
    string(REGEX REPLACE "(ctest --test-dir [^ \n]+)" "\\1 --no-tests=error -R '^${one}$'"
           commands "${commands}")
  endif()
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env "HOME=${WORK}" sh -e -x -c "${commands}"
                  WORKING_DIRECTORY "${folder}" RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "these commands end with ${result}:\n${commands}")
  endif()
endif()
