# SPDX-License-Identifier: MIT
# cmake -DSOURCE=project -DBUILD=folder -P build_and_run.cmake -- arguments of the configuration
# Configures from nothing, builds, installs when the project installs something, runs `app`.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/arguments.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")

file(REMOVE_RECURSE "${BUILD}")
execute_process(COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BUILD}"
                        -DFETCHCONTENT_FULLY_DISCONNECTED=ON ${arguments} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} cannot be configured")
endif()
run("${CMAKE_COMMAND}" --build "${BUILD}")
file(STRINGS "${BUILD}/CMakeCache.txt" prefix REGEX "^CMAKE_INSTALL_PREFIX:[A-Z]+=.*installed$")
if(prefix)
  run("${CMAKE_COMMAND}" --install "${BUILD}")
endif()
find_program(app app PATHS "${BUILD}" "${BUILD}/Debug" "${BUILD}/Release" NO_DEFAULT_PATH REQUIRED)
run("${app}")
