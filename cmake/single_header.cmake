# SPDX-License-Identifier: MIT
# Writes what <batchnorm/batchnorm.hpp> brings as one file, to be copied into a project:
#
#   cmake -P cmake/single_header.cmake
#
#   -DOUTPUT=file  where to write it (build/single_header/batchnorm/batchnorm.hpp in the source tree)
#
# Every header goes where it was included first, with its include guard, so that the compiler sees the
# same text in the same order, and the other headers of the tree (batchnorm/io/...) may be included
# beside the file. Headers that need more than Eigen are not in it. The same tree gives the same bytes.
cmake_minimum_required(VERSION 3.22)

get_filename_component(source_dir "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
set(include_dir "${source_dir}/include")
include("${CMAKE_CURRENT_LIST_DIR}/script_arguments.cmake")
if(NOT OUTPUT)
  set(OUTPUT "${source_dir}/build/single_header/batchnorm/batchnorm.hpp")
endif()
get_filename_component(OUTPUT "${OUTPUT}" ABSOLUTE)

set(included)
set(body "")

# append(header): its text, with each header that it includes for the first time in the place of the
# include. Texts are never lists here: a semicolon or bracket would break them.
function(append header)
  list(APPEND included "${header}")
  file(READ "${include_dir}/${header}" rest)
  string(REGEX REPLACE "^// SPDX-License-Identifier: MIT\n" "" rest "${rest}")
  string(APPEND body "\n// ---- ${header}\n\n")
  while(TRUE)
    string(FIND "${rest}" "\n#include \"" at)
    if(at EQUAL -1)
      break()
    endif()
    math(EXPR at "${at} + 1")
    string(SUBSTRING "${rest}" 0 ${at} before)
    string(SUBSTRING "${rest}" ${at} -1 rest)
    if(NOT rest MATCHES "^#include \"(batchnorm/[a-z0-9_/]+[.]hpp)\"\n")
      message(FATAL_ERROR "${header} includes something else than a header of this tree with quotes")
    endif()
    set(target "${CMAKE_MATCH_1}")
    string(LENGTH "${CMAKE_MATCH_0}" length)
    # The line end stays: the next include is found by it.
    math(EXPR length "${length} - 1")
    string(SUBSTRING "${rest}" ${length} -1 rest)
    string(APPEND body "${before}")
    if(NOT target IN_LIST included)
      append("${target}")
    endif()
  endwhile()
  string(APPEND body "${rest}")
  set(included "${included}" PARENT_SCOPE)
  set(body "${body}" PARENT_SCOPE)
endfunction()
append(batchnorm/batchnorm.hpp)

string(REGEX REPLACE "\n\n\n+" "\n\n" body "${body}")

include("${CMAKE_CURRENT_LIST_DIR}/version.cmake")
file(READ "${source_dir}/LICENSE" licence)
string(REGEX REPLACE "\n$" "" licence "${licence}")
string(REGEX REPLACE "\n" "\n// " licence "\n${licence}")
string(REGEX REPLACE "// \n" "//\n" licence "${licence}")
file(WRITE "${OUTPUT}" "// SPDX-License-Identifier: MIT
// batchnorm ${version} in one file, written by cmake/single_header.cmake: change the headers there.
//${licence}
${body}")

list(LENGTH included count)
file(SIZE "${OUTPUT}" size)
execute_process(COMMAND "${CMAKE_COMMAND}" -E echo
                        "${OUTPUT}: batchnorm ${version}, ${count} headers, ${size} bytes")
