# SPDX-License-Identifier: MIT
# Makes the reference with Doxygen: HTML with a search, of all headers, pages and examples. Warnings
# are errors, and so is a public name that does not say what CONTRIBUTING.md asks of it.
#
#   cmake -P cmake/docs.cmake
#
#   -DINSTALL=OFF or ON  whether to install Doxygen and Python where they are missing, which by default
#                        only root does (prerequisites.cmake)
#   -DBUILD_DIR=folder   where to put it (build/docs in the source tree)
#   -DHEADERS=folder     other headers, for trying the check; without pages
#
# Without Doxygen or Python nothing is made, and a line says so.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/docs")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)

set(missing)
look_for_program(doxygen doxygen)
look_for_program(python3 python3 python)
if(missing)
  install_missing()
endif()
find_program(doxygen doxygen NO_CACHE)
find_program(python NAMES python3 python NO_CACHE)
if(NOT doxygen OR NOT python)
  say("left out: the reference, because Doxygen or Python is not here")
  return()
endif()

# Pages that this one no longer has would stay.
file(REMOVE_RECURSE "${BUILD_DIR}/html" "${BUILD_DIR}/xml" "${BUILD_DIR}/pages")
file(MAKE_DIRECTORY "${BUILD_DIR}/html" "${BUILD_DIR}/pages")
set(with_html NO)
if(NOT HEADERS)
  set(HEADERS "${source_dir}/include")
  set(with_html YES)
  execute_process(COMMAND "${python}" "${CMAKE_CURRENT_LIST_DIR}/docs/write_pages.py"
                          "${source_dir}" "${BUILD_DIR}" RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "the pages could not be written")
  endif()
endif()

include("${CMAKE_CURRENT_LIST_DIR}/version.cmake")
configure_file("${CMAKE_CURRENT_LIST_DIR}/docs/Doxyfile.in" "${BUILD_DIR}/Doxyfile" @ONLY)
execute_process(COMMAND "${doxygen}" "${BUILD_DIR}/Doxyfile" WORKING_DIRECTORY "${source_dir}"
                RESULT_VARIABLE failed ERROR_VARIABLE warnings)
if(warnings)
  say("${warnings}")
endif()
execute_process(COMMAND "${python}" "${CMAKE_CURRENT_LIST_DIR}/docs/check_reference.py"
                        "${BUILD_DIR}/xml" RESULT_VARIABLE lacking)
if(NOT failed EQUAL 0 OR warnings)
  message(FATAL_ERROR "Doxygen warns")
endif()
if(NOT lacking EQUAL 0)
  message(FATAL_ERROR "public names do not say what they have to")
endif()
if(with_html)
  say("reference: ${BUILD_DIR}/html/index.html")
endif()
