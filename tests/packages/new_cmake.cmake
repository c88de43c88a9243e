# SPDX-License-Identifier: MIT
# cmake -DNEW_CMAKE=cmake -DTREE=source -DSOURCE=project -DWORK=folder -P new_cmake.cmake -- arguments
# Installs the library with CPS and module by a newer CMake, builds the project and runs `app`.
cmake_minimum_required(VERSION 3.22)

include("${CMAKE_CURRENT_LIST_DIR}/../support/arguments.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/../support/run.cmake")
get_filename_component(name "${SOURCE}" NAME)

file(REMOVE_RECURSE "${WORK}")
set(options -DBATCHNORM_BUILD_TESTS=OFF -DBATCHNORM_BUILD_EXAMPLES=OFF -DBATCHNORM_ONNX=OFF
    -DBATCHNORM_KERAS=OFF)
if(name STREQUAL "module")
  list(APPEND options -DBATCHNORM_MODULE=ON)
  set(app "${TREE}/tests/module/main.cpp")
else()
  list(APPEND options -DBATCHNORM_CPS=ON)
  set(app "${TREE}/tests/consumers/app/main.cpp")
endif()
run("${NEW_CMAKE}" -S "${TREE}" -B "${WORK}/library" ${arguments} ${options})
run("${NEW_CMAKE}" --build "${WORK}/library")
run("${NEW_CMAKE}" --install "${WORK}/library" --prefix "${WORK}/first")
if(name STREQUAL "cps")
  file(REMOVE_RECURSE "${WORK}/first/share/cmake")
endif()
# A path baked into what is installed must not go unnoticed.
file(RENAME "${WORK}/first" "${WORK}/installed")

configure_file("${SOURCE}/CMakeLists.txt" "${WORK}/project/CMakeLists.txt" COPYONLY)
configure_file("${app}" "${WORK}/project/main.cpp" COPYONLY)
run("${NEW_CMAKE}" -S "${WORK}/project" -B "${WORK}/build" ${arguments}
    "-DCMAKE_PREFIX_PATH=${WORK}/installed")
run("${NEW_CMAKE}" --build "${WORK}/build")
run("${WORK}/build/app")
