# SPDX-License-Identifier: MIT
# How sources are tried without being built: the compilers (the configured one and, where it is
# installed, the other one of g++ and clang++) and the command line that they share.

set(syntax_compilers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  find_program(BATCHNORM_SECOND_COMPILER clang++)
  set(syntax_names gcc clang)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  find_program(BATCHNORM_SECOND_COMPILER g++)
  set(syntax_names clang gcc)
else()
  message(STATUS "batchnorm: headers and compile-fail cases are tried with g++ and clang++ only")
  return()
endif()
list(APPEND syntax_compilers "${CMAKE_CXX_COMPILER}")
if(BATCHNORM_SECOND_COMPILER)
  list(APPEND syntax_compilers "${BATCHNORM_SECOND_COMPILER}")
else()
  list(POP_BACK syntax_names missing)
  message(STATUS "batchnorm: ${missing} is not installed, headers are tried with one compiler")
endif()

set(syntax_standard 17)
if(CMAKE_CXX_STANDARD)
  set(syntax_standard ${CMAKE_CXX_STANDARD})
endif()
set(syntax_flags
  -std=c++${syntax_standard} -fsyntax-only
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror
  "-I${PROJECT_SOURCE_DIR}/include")
# A folder that compilers search by themselves must not be named: its place in the order matters.
list(JOIN CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES "|" searched_anyway)
string(REPLACE "+" "[+]" searched_anyway "${searched_anyway}")
foreach(target IN ITEMS Eigen3::Eigen nlohmann_json::nlohmann_json)
  set(dirs "$<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>")
  set(dirs "$<FILTER:${dirs},EXCLUDE,^(${searched_anyway})/?$>")
  list(APPEND syntax_flags
       "$<$<BOOL:${dirs}>:-isystem$<JOIN:${dirs},$<SEMICOLON>-isystem>>")
endforeach()
