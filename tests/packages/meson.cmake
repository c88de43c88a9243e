# SPDX-License-Identifier: MIT
# cmake -DMESON=meson -DSOURCE=project -DRECIPES=subprojects -DAPP=main.cpp -DWORK=folder -P meson.cmake
# Makes a project with the wrap in its subprojects, builds it from nothing and runs `app`.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(REMOVE_RECURSE "${WORK}")
file(COPY "${SOURCE}/" DESTINATION "${WORK}")
file(COPY "${RECIPES}" DESTINATION "${WORK}")
configure_file("${APP}" "${WORK}/main.cpp" COPYONLY)
# Eigen may be installed, the library must come from the wrap.
run("${MESON}" setup --force-fallback-for=batchnorm "-Dbatchnorm:instruction_sets=avx2"
    "${WORK}/build" "${WORK}")
run("${MESON}" compile -C "${WORK}/build")
run("${WORK}/build/app")
run("${MESON}" install -C "${WORK}/build" --destdir "${WORK}/installed" --quiet)
# The name after the last slash is looked for in all folders.
file(GLOB_RECURSE installed "${WORK}/installed/batchnorm.hpp" "${WORK}/installed/batchnorm.pc")
list(LENGTH installed count)
if(NOT count EQUAL 2)
  message(FATAL_ERROR "installed is not what was expected: ${installed}")
endif()
list(FILTER installed INCLUDE REGEX "pc$")
file(STRINGS "${installed}" flags REGEX "^Cflags:.*-DBATCHNORM_INSTRUCTION_SETS=avx2")
if(NOT flags)
  message(FATAL_ERROR "the option has not reached ${installed}")
endif()
