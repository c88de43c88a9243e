# SPDX-License-Identifier: MIT
# cmake -DBLOCK=file -DAPP=main.cpp -DBUILD=folder -DTREE=source -P cmake_block.cmake -- arguments
# Makes a project of one program around the block, without network, builds and runs it.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/arguments.cmake")

file(READ "${BLOCK}" block)
if(NOT block MATCHES "target_link_libraries\\(([A-Za-z0-9_]+)[^)]*batchnorm::batchnorm")
  message(FATAL_ERROR "the block links nothing to batchnorm::batchnorm:\n${block}")
endif()
set(app "${CMAKE_MATCH_1}")
if(NOT block MATCHES "add_executable")
  set(block "add_executable(${app} main.cpp)\n${block}")
endif()
if(NOT block MATCHES "project\\(")
  set(block "cmake_minimum_required(VERSION 3.22)\nproject(app LANGUAGES CXX)\n${block}")
endif()

file(REMOVE_RECURSE "${BUILD}")
file(WRITE "${BUILD}/CMakeLists.txt" "${block}")
configure_file("${APP}" "${BUILD}/main.cpp" COPYONLY)
if(block MATCHES "add_subdirectory\\(([^ )]+)")
  file(COPY "${TREE}/include" "${TREE}/cmake" "${TREE}/CMakeLists.txt"
       DESTINATION "${BUILD}/${CMAKE_MATCH_1}")
endif()

foreach(step IN ITEMS configure build)
  set(command "${CMAKE_COMMAND}" --build "${BUILD}/build")
  if(step STREQUAL "configure")
    set(command "${CMAKE_COMMAND}" -S "${BUILD}" -B "${BUILD}/build" ${arguments}
        -DFETCHCONTENT_FULLY_DISCONNECTED=ON "-DFETCHCONTENT_SOURCE_DIR_BATCHNORM=${TREE}")
  endif()
  execute_process(COMMAND ${command} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "cannot ${step}:\n${block}")
  endif()
endforeach()
find_program(program ${app} PATHS "${BUILD}/build" "${BUILD}/build/Debug" NO_DEFAULT_PATH REQUIRED)
execute_process(COMMAND "${program}" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the program ends with ${result}")
endif()
