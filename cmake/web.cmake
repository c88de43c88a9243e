# SPDX-License-Identifier: MIT
# Builds the page of examples/web, one HTML file that needs no server:
#
#   cmake -P cmake/web.cmake
#
#   -DCHECK=page          builds it, and plays it through in Chromium
#   -DCHECK=units         runs unit tests as WebAssembly under Node instead, which is a 32-bit platform
#   -DINSTALL=OFF or ON  whether to install Emscripten, Chromium and what else is missing, which by
#                        default only root does (prerequisites.cmake)
#   -DBUILD_DIR=folder   where to build (build/web in the source tree): page.html is there afterwards,
#                        and screenshots of the test
#   -DSCREENSHOT=file    with -DCHECK=page: keeps the screenshot of the README there
#
# What is used from npm is pinned in examples/web/package-lock.json. What cannot be had is left out,
# and a line says so.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/prerequisites.cmake")
if(NOT BUILD_DIR)
  set(BUILD_DIR "${source_dir}/build/web")
endif()
get_filename_component(BUILD_DIR "${BUILD_DIR}" ABSOLUTE)
set(web "${source_dir}/examples/web")

set(missing)
look_for_header(libeigen3-dev Eigen/Core)
look_for_program(emscripten em++)
look_for_program(nodejs node nodejs)
if(CHECK STREQUAL "units")
  look_for_header(catch2 catch2/catch.hpp)
else()
  look_for_program(npm npm)
endif()
if(CHECK STREQUAL "page")
  look_for_program(chromium chromium)
  look_for_program(g++ c++ g++ clang++)
endif()
if(missing)
  install_missing()
endif()

# need(variable programs...): the script ends here when there is none.
macro(need variable)
  find_program(${variable} NAMES ${ARGN} NO_CACHE)
  if(NOT ${variable})
    say("left out: WebAssembly, because ${ARGV1} is not here")
    return()
  endif()
endmacro()
need(emscripten em++)
need(node node nodejs)

# The folder of all headers of this system would hide those of Emscripten.
find_path(eigen NAMES Eigen/Core PATHS /usr/include /usr/local/include /opt/homebrew/include
          PATH_SUFFIXES eigen3 NO_CACHE)
find_path(catch NAMES catch2/catch.hpp PATHS /usr/include /usr/local/include /opt/homebrew/include
          NO_CACHE)
if(NOT eigen)
  say("left out: WebAssembly, because Eigen is not here")
  return()
endif()
file(MAKE_DIRECTORY "${BUILD_DIR}/include")
file(CREATE_LINK "${eigen}/Eigen" "${BUILD_DIR}/include/Eigen" SYMBOLIC)

# run(commands...): commands that are separated by COMMAND run at the same time.
function(run what)
  execute_process(${ARGN} WORKING_DIRECTORY "${BUILD_DIR}" RESULTS_VARIABLE results)
  list(REMOVE_ITEM results 0)
  if(results)
    message(FATAL_ERROR "${what}: ${results}")
  endif()
endfunction()

set(flags -std=c++17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror
    "-I${source_dir}/include" -isystem "${BUILD_DIR}/include")

if(CHECK STREQUAL "units")
  if(NOT catch)
    say("left out: unit tests as WebAssembly, because Catch2 version 2 is not here")
    return()
  endif()
  include("${source_dir}/tests/web/units.cmake")
  return()
endif()

need(npm npm)
# The sources are copied beside the packages, where programs of npm look for them.
file(GLOB_RECURSE old "${BUILD_DIR}/page/*")
if(old)
  file(REMOVE ${old})
endif()
file(COPY "${web}/" DESTINATION "${BUILD_DIR}/page" PATTERN node_modules EXCLUDE)
file(COPY "${web}/package.json" "${web}/package-lock.json" DESTINATION "${BUILD_DIR}")
file(SHA256 "${web}/package-lock.json" wanted)
set(installed)
if(EXISTS "${BUILD_DIR}/node_modules/installed")
  file(READ "${BUILD_DIR}/node_modules/installed" installed)
endif()
if(NOT wanted STREQUAL installed)
  execute_process(COMMAND "${npm}" ci --ignore-scripts --no-audit --no-fund
                  WORKING_DIRECTORY "${BUILD_DIR}" RESULT_VARIABLE failed OUTPUT_QUIET)
  if(NOT failed EQUAL 0)
    say("left out: the page, because npm could not install its packages")
    return()
  endif()
  file(WRITE "${BUILD_DIR}/node_modules/installed" "${wanted}")
endif()

# The order of all sums is that of the source, everywhere: no vectors in matrix products, and nothing
# fused. So the native program of the test gives the same bits.
list(APPEND flags -O2 -ffp-contract=off -DEIGEN_DONT_VECTORIZE "-I${source_dir}/examples")
set(exports web_arguments web_name web_start web_start_with_digits web_train web_ask web_result
            web_message)
list(TRANSFORM exports PREPEND _)
list(JOIN exports "," exports)
set(commands
  COMMAND "${emscripten}" ${flags} -msimd128 -fno-exceptions -fno-rtti "${web}/cpp/exports.cpp"
          -o "${BUILD_DIR}/lab.wasm" --no-entry -sSTANDALONE_WASM -sALLOW_MEMORY_GROWTH
          -sFILESYSTEM=0 "-sEXPORTED_FUNCTIONS=${exports}"
  COMMAND "${node}" node_modules/typescript/bin/tsc -p page)
if(CHECK STREQUAL "page")
  need(chromium chromium)
  need(compiler $ENV{CXX} c++ g++ clang++)
  foreach(program IN ITEMS "native;${source_dir}/tests/web/native.cpp"
                           "dozen_lines;${web}/cpp/dozen_lines.cpp")
    list(GET program 0 name)
    list(GET program 1 source)
    list(APPEND commands COMMAND "${compiler}" ${flags} -DBATCHNORM_INSTRUCTION_SETS=baseline
         "${source}" -o "${BUILD_DIR}/${name}")
  endforeach()
endif()
run("the page does not compile" ${commands})
run("the page is not made" COMMAND "${node}" page/build.mjs lab.wasm page.html)

if(CHECK STREQUAL "page")
  file(COPY "${source_dir}/tests/web" DESTINATION "${BUILD_DIR}")
  file(GLOB tests RELATIVE "${BUILD_DIR}" "${BUILD_DIR}/web/*.test.mjs")
  run("the lines of the page do not work" COMMAND "${BUILD_DIR}/dozen_lines")
  run("a test of the page fails" COMMAND "${CMAKE_COMMAND}" -E env "CHROMIUM=${chromium}"
      "SCREENSHOT=${SCREENSHOT}" "${node}" --test ${tests})
endif()
