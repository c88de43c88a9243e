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

# precompile_syntax_headers(name compiler compiler_name headers...): the test <name>_<compiler_name>,
# which precompiles headers, as a fixture of the same name for the tests that use them, and sets
# <name>_flags to the arguments with which they do. The file is large, so another test removes it.
function(precompile_syntax_headers name compiler compiler_name)
  list(TRANSFORM ARGN REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
  list(JOIN includes "" includes)
  set(header "${CMAKE_CURRENT_BINARY_DIR}/${name}_${compiler_name}.hpp")
  file(CONFIGURE OUTPUT "${header}" CONTENT "${includes}")
  set(flags ${syntax_flags})
  list(REMOVE_ITEM flags -fsyntax-only)
  add_test(NAME ${name}_${compiler_name} COMMAND_EXPAND_LISTS
           COMMAND "${compiler}" ${flags} -x c++-header "${header}" -o "${header}.gch")
  add_test(NAME ${name}_${compiler_name}_removed COMMAND "${CMAKE_COMMAND}" -E rm "${header}.gch")
  set_tests_properties(${name}_${compiler_name} PROPERTIES FIXTURES_SETUP ${name}_${compiler_name})
  set_tests_properties(${name}_${compiler_name}_removed PROPERTIES
                       FIXTURES_CLEANUP ${name}_${compiler_name})
  # g++ takes the file with .gch when it is told to include the other; an old one must not do.
  set(${name}_flags -Winvalid-pch -include "${header}" PARENT_SCOPE)
  if(compiler_name STREQUAL "clang")
    set(${name}_flags -include-pch "${header}.gch" PARENT_SCOPE)
  endif()
endfunction()
