# SPDX-License-Identifier: MIT
# cmake -DPAGE=README.md -DBUILD=build folder -DCTEST=ctest -P guarantees.cmake
# In the section "Guarantees" each row of the table ends with the regular expression for ctest -R
# that runs its proof. There must be rows, and each expression must find a test.
cmake_minimum_required(VERSION 3.22)

file(READ "${PAGE}" page)
if(NOT page MATCHES "\n## Guarantees\n(.*)")
  message(FATAL_ERROR "${PAGE} has no section Guarantees")
endif()
string(REGEX REPLACE "\n## .*" "" section "${CMAKE_MATCH_1}")

set(count 0)
while(section MATCHES "\n\\|[^\n]*\\| `([a-z0-9_|\\]+)` \\|\n(.*)")
  set(section "\n${CMAKE_MATCH_2}")
  string(REPLACE "\\|" "|" expression "${CMAKE_MATCH_1}")
  math(EXPR count "${count} + 1")
  execute_process(COMMAND "${CTEST}" --test-dir "${BUILD}" -N -R "${expression}"
                  OUTPUT_VARIABLE found RESULT_VARIABLE result)
  if(NOT result EQUAL 0 OR NOT found MATCHES "Total Tests: [1-9]")
    message(SEND_ERROR "no test is called ${expression}")
  endif()
endwhile()
if(count LESS 3)
  message(FATAL_ERROR "expected a table of guarantees and their tests, got ${count} rows")
endif()
