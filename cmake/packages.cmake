# SPDX-License-Identifier: MIT
# Writes the recipes of cmake/packages/ as package registries want them: with the version, the commit
# and the hashes of a release, in the folders of each registry.
#
#   cmake -P cmake/packages.cmake -DREPOSITORY=URL.git -DCOMMIT=hash -DARCHIVE=URL
#
#   -DREPOSITORY=  address for git clone
#   -DCOMMIT=      the full hash of the released commit
#   -DARCHIVE=     address of a .tar.gz of its tree in one folder; it is downloaded once, for its hash
#   -DOUTPUT=      folder to write to (build/packages in the source tree)
cmake_minimum_required(VERSION 3.22)

get_filename_component(source_dir "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
include("${CMAKE_CURRENT_LIST_DIR}/script_arguments.cmake")
if(NOT OUTPUT)
  set(OUTPUT "${source_dir}/build/packages")
endif()
get_filename_component(OUTPUT "${OUTPUT}" ABSOLUTE)
if(NOT REPOSITORY MATCHES "^[a-z]+://.+[.]git$")
  message(FATAL_ERROR "-DREPOSITORY= must be an address that ends in .git, is '${REPOSITORY}'")
endif()
string(LENGTH "${COMMIT}" length)
if(NOT length EQUAL 40 OR NOT COMMIT MATCHES "^[0-9a-f]+$")
  message(FATAL_ERROR "-DCOMMIT= must be a full hash, 40 digits, is '${COMMIT}'")
endif()
if(NOT ARCHIVE MATCHES "^[a-z]+://.+[.]tar[.]gz$")
  message(FATAL_ERROR "-DARCHIVE= must be the address of a .tar.gz, is '${ARCHIVE}'")
endif()

# integrity(result file): its SHA-256 as Bazel writes it, in base 64.
function(integrity result file)
  set(digits "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  file(SHA256 "${file}" hex)
  set(text "")
  # Six hexadecimal digits are four of base 64; two bytes remain, which are filled up with zeros.
  foreach(at RANGE 0 60 6)
    string(SUBSTRING "${hex}00" ${at} 6 part)
    foreach(shift IN ITEMS 18 12 6 0)
      math(EXPR digit "(0x${part} >> ${shift}) & 63")
      string(SUBSTRING "${digits}" ${digit} 1 digit)
      string(APPEND text "${digit}")
    endforeach()
  endforeach()
  string(REGEX REPLACE "A$" "=" text "${text}")
  set(${result} "sha256-${text}" PARENT_SCOPE)
endfunction()

# ---- what the recipes leave open

include("${CMAKE_CURRENT_LIST_DIR}/version.cmake")
set(VERSION "${version}")
string(REGEX REPLACE "[.]git$" "" HOMEPAGE "${REPOSITORY}")
file(REMOVE_RECURSE "${OUTPUT}")
set(archive_file "${OUTPUT}/archive.tar.gz")
file(DOWNLOAD "${ARCHIVE}" "${archive_file}" STATUS status)
list(POP_FRONT status failed)
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "${ARCHIVE} cannot be downloaded: ${status}")
endif()
file(SHA256 "${archive_file}" ARCHIVE_SHA256)
integrity(ARCHIVE_INTEGRITY "${archive_file}")
execute_process(COMMAND "${CMAKE_COMMAND}" -E tar tf "${archive_file}" OUTPUT_VARIABLE names)
if(NOT names MATCHES "^([^/\n]+)/" OR NOT names MATCHES "/include/batchnorm/version[.]hpp\n")
  message(FATAL_ERROR "${ARCHIVE} does not hold this tree in one folder")
endif()
string(REGEX REPLACE "/.*" "" ARCHIVE_FOLDER "${names}")
file(REMOVE "${archive_file}")

# ---- the recipes; the overlay of Bazel goes first, because another file has its hashes

set(recipes "${source_dir}/cmake/packages")
file(GLOB_RECURSE others RELATIVE "${recipes}" "${recipes}/*")
set(overlay ${others})
list(FILTER overlay INCLUDE REGEX "/overlay/")
list(REMOVE_ITEM others README.md ${overlay})
set(mark "not run[^\n]*")
foreach(recipe IN LISTS overlay others)
  string(REPLACE "/VERSION/" "/${VERSION}/" target "${OUTPUT}/${recipe}")
  file(READ "${recipes}/${recipe}" text)
  string(REGEX REPLACE "^({) \"[$]comment\": \"${mark}\n" "\\1\n" text "${text}")
  string(REGEX REPLACE "^(#|--) ${mark}\n" "" text "${text}")
  string(CONFIGURE "${text}" text @ONLY)
  file(WRITE "${target}" "${text}")
  if(recipe MATCHES "overlay/([A-Z]+)[.]bazel$")
    integrity(${CMAKE_MATCH_1}_INTEGRITY "${target}")
  endif()
endforeach()
# The registry reads one, the other goes into the sources.
set(module "${OUTPUT}/bazel/modules/batchnorm/${VERSION}")
configure_file("${module}/overlay/MODULE.bazel" "${module}/MODULE.bazel" COPYONLY)
configure_file("${source_dir}/tests/consumers/app/main.cpp"
               "${OUTPUT}/conan/recipes/batchnorm/all/test_package/test_package.cpp" COPYONLY)
execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${OUTPUT}: recipes of batchnorm ${VERSION}")
