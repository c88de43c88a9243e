# SPDX-License-Identifier: MIT
# cmake -DTREE=source -DBUILD=folder -DCTEST=ctest -DEXAMPLES=bool -P registered.cmake
# Asks ctest what it knows and compares with the files of the tree, found anew: a test that is
# never run must not go unnoticed.
cmake_minimum_required(VERSION 3.22)

execute_process(COMMAND "${CTEST}" --test-dir "${BUILD}" -N OUTPUT_VARIABLE known)

function(expect_test name file)
  if(NOT known MATCHES "Test +#[0-9]+: ${name}\n")
    message(SEND_ERROR "${file} is not run: there is no test ${name}")
  endif()
endfunction()

file(GLOB_RECURSE units RELATIVE "${TREE}/tests" "${TREE}/tests/*.test.cpp")
file(GLOB examples RELATIVE "${TREE}/examples" "${TREE}/examples/*.cpp")
file(GLOB cases RELATIVE "${TREE}/tests/compile_fail" "${TREE}/tests/compile_fail/*.cpp")
file(GLOB consumers RELATIVE "${TREE}/tests/consumers" "${TREE}/tests/consumers/*/CMakeLists.txt")
foreach(list IN ITEMS units cases consumers)
  if(NOT ${list})
    message(SEND_ERROR "no ${list} were found")
  endif()
endforeach()

# What needs ONNX is left out where it is not installed.
if(NOT ONNX)
  list(FILTER units EXCLUDE REGEX "^(io|fuzz)/onnx")
endif()
# What needs HDF5 is left out where it is not installed.
if(NOT KERAS)
  list(FILTER units EXCLUDE REGEX "^io/(keras|hdf5)[.]test")
endif()
foreach(file IN LISTS units)
  string(REGEX REPLACE "[.]test[.]cpp$" "" name "${file}")
  string(REPLACE "/" "_" name "${name}")
  expect_test("test_${name}" "tests/${file}")
endforeach()
if(NOT EXAMPLES)
  set(examples)
endif()
if(NOT ONNX)
  list(FILTER examples EXCLUDE REGEX "_onnx[.]cpp$")
endif()
# Examples and consumers for MPI are left out where none is.
if(NOT MPI)
  list(FILTER examples EXCLUDE REGEX "distributed")
  list(FILTER consumers EXCLUDE REGEX "_mpi/")
endif()
foreach(file IN LISTS examples)
  string(REPLACE ".cpp" "" name "${file}")
  expect_test("example_${name}" "examples/${file}")
endforeach()
foreach(file IN LISTS cases)
  string(REPLACE ".cpp" "" name "${file}")
  expect_test("compile_fail_${name}_[a-z]+" "tests/compile_fail/${file}")
endforeach()
foreach(file IN LISTS consumers)
  string(REPLACE "/CMakeLists.txt" "" name "${file}")
  expect_test("consumer_${name}" "tests/consumers/${file}")
endforeach()

# A source of a test that is spelt otherwise is found by no pattern.
file(GLOB_RECURSE sources RELATIVE "${TREE}/tests" "${TREE}/tests/*.cpp")
list(FILTER sources EXCLUDE REGEX "[.]test[.]cpp$")
set(no_unit_tests support compile_fail consumers cross examples flags module no_exceptions benchmarks
    fuzz distributed/mpi single_header web)
list(JOIN no_unit_tests "|" no_unit_tests)
list(FILTER sources EXCLUDE REGEX "^(${no_unit_tests})/")
list(REMOVE_ITEM sources structure/whole_library_main.cpp)
if(sources)
  message(SEND_ERROR "these are no tests: ${sources}")
endif()
