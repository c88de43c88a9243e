# SPDX-License-Identifier: MIT
# Shared by the scripts demo.cmake, test.cmake, benchmark.cmake, fuzz.cmake, cross.cmake, onnx.cmake,
# docs.cmake and web.cmake: looks for what they need, installs what is missing, configures and
# builds. What cannot be installed is downloaded later, with pinned hashes and into the build folder,
# by the project itself (dependencies.cmake).
#
#   -DINSTALL=ON   install missing Debian packages with apt-get, through sudo where you are not root
#   -DINSTALL=OFF  install nothing
#   neither        install as root; tell other users what to install
#
# Whatever is installed is named first.

get_filename_component(source_dir "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)

include("${CMAKE_CURRENT_LIST_DIR}/script_arguments.cmake")

function(say text)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${text}")
endfunction()

# Adds to `missing` the Debian package of each thing that is not there.
function(look_for_program debian_package)
  find_program(found_${debian_package} NAMES ${ARGN})
  if(NOT found_${debian_package})
    set(missing ${missing} ${debian_package} PARENT_SCOPE)
  endif()
endfunction()

function(look_for_header debian_package)
  find_path(found_${debian_package} NAMES ${ARGN} PATH_SUFFIXES include include/eigen3 eigen3
            PATHS /usr/include /usr/local/include /opt/homebrew/include)
  if(NOT found_${debian_package})
    set(missing ${missing} ${debian_package} PARENT_SCOPE)
  endif()
endfunction()

# Sets `apt_get` to a command that may install packages, or to nothing, and then `reason` to why.
function(find_permitted_apt_get)
  set(apt_get "" PARENT_SCOPE)
  if(DEFINED INSTALL AND NOT INSTALL)
    set(reason "INSTALL is off" PARENT_SCOPE)
    return()
  endif()
  find_program(apt_get_program apt-get)
  if(NOT apt_get_program)
    set(reason "apt-get is not here" PARENT_SCOPE)
    return()
  endif()
  set(command "${CMAKE_COMMAND}" -E env DEBIAN_FRONTEND=noninteractive "${apt_get_program}")
  execute_process(COMMAND id -u OUTPUT_VARIABLE user OUTPUT_STRIP_TRAILING_WHITESPACE)
  find_program(sudo_program sudo)
  if(user STREQUAL "0")
    set(apt_get ${command} PARENT_SCOPE)
  elseif(NOT INSTALL)
    set(reason "you are not root, and -DINSTALL=ON, which uses sudo, is not given" PARENT_SCOPE)
  elseif(NOT sudo_program)
    set(reason "you are not root, and sudo is not here" PARENT_SCOPE)
  else()
    set(apt_get "${sudo_program}" ${command} PARENT_SCOPE)
  endif()
endfunction()

# The packages in `missing`, on Debian and Ubuntu. A fresh system has no package lists yet: then
# they are fetched and the installation is tried once more.
function(install_missing)
  find_permitted_apt_get()
  string(REPLACE ";" " " names "${missing}")
  if(NOT apt_get)
    say("missing, and not installed because ${reason}: ${names}")
    return()
  endif()
  say("installing with apt-get (-DINSTALL=OFF does without): ${names}")
  set(install ${apt_get} install -y --no-install-recommends ${missing})
  execute_process(COMMAND ${install} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed EQUAL 0)
    execute_process(COMMAND ${apt_get} update OUTPUT_QUIET)
    execute_process(COMMAND ${install} RESULT_VARIABLE failed OUTPUT_QUIET)
  endif()
  if(NOT failed EQUAL 0)
    say("apt-get could not install them")
  endif()
endfunction()

# prepare(WITH_TESTS, WITH_BENCHMARKS or nothing): everything that the build needs, or an error that
# says what lacks.
function(prepare)
  set(missing)
  look_for_program(g++ $ENV{CXX} ${CMAKE_CXX_COMPILER} c++ g++ clang++ cl)
  # Make also where Ninja is: a plain `cmake -B build`, as in README.md, uses it.
  look_for_program(make make gmake nmake)
  look_for_program(pkg-config pkg-config pkgconf)
  look_for_header(libeigen3-dev Eigen/Core)
  look_for_header(nlohmann-json3-dev nlohmann/json.hpp)
  if("${ARGN}" STREQUAL "WITH_TESTS")
    look_for_header(catch2 catch2/catch_all.hpp catch2/catch.hpp)
  elseif("${ARGN}" STREQUAL "WITH_BENCHMARKS")
    look_for_header(libbenchmark-dev benchmark/benchmark.h)
  endif()
  if(missing)
    install_missing()
  endif()
  foreach(need IN ITEMS "g++;a C++17 compiler;c++;g++;clang++;cl"
                        "make;make or Ninja;make;gmake;nmake;ninja;ninja-build")
    list(POP_FRONT need package name)
    find_program(found_${package} NAMES $ENV{CXX} ${need})
    if(NOT found_${package})
      message(FATAL_ERROR "${name} is needed and was not found")
    endif()
  endforeach()
endfunction()

# configure_and_build(folder, target, arguments of CMake...): builds with all cores.
function(configure_and_build folder target)
  set(arguments ${ARGN} -DBATCHNORM_FETCH_DEPENDENCIES=ON)
  foreach(name IN ITEMS CMAKE_CXX_COMPILER CMAKE_CXX_FLAGS CMAKE_CXX_STANDARD CMAKE_BUILD_TYPE
                        CMAKE_PREFIX_PATH)
    if(DEFINED ${name})
      list(APPEND arguments "-D${name}=${${name}}")
    endif()
  endforeach()
  find_program(ninja_program NAMES ninja ninja-build)
  if(ninja_program AND NOT EXISTS "${folder}/CMakeCache.txt")
    list(APPEND arguments -G Ninja)
  endif()
  say("building in ${folder}")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${source_dir}" -B "${folder}" ${arguments}
                  RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "the project could not be configured")
  endif()
  execute_process(COMMAND "${CMAKE_COMMAND}" --build "${folder}" --target ${target}
                          --parallel ${cores} RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "the project could not be built")
  endif()
endfunction()
