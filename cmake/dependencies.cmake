# SPDX-License-Identifier: MIT
# What the library and its tests need from others. An installed package is taken as it is found;
# with BATCHNORM_FETCH_DEPENDENCIES a missing one is downloaded and checked against its hash.

include(FetchContent)

# Unpacks an archive whose headers alone are wanted: no build file of it is run.
macro(batchnorm_unpack name url sha256)
  message(STATUS "batchnorm: ${name} is not installed, downloading ${url}")
  FetchContent_Declare(${name} URL "${url}" URL_HASH SHA256=${sha256} SOURCE_SUBDIR not_built)
  FetchContent_MakeAvailable(${name})
endmacro()

macro(batchnorm_headers_only target include_dir)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${include_dir}")
endmacro()

function(batchnorm_missing name debian_package)
  message(FATAL_ERROR "batchnorm: ${name} was not found. Install it (Debian and Ubuntu: apt "
    "install ${debian_package}), tell CMake where it is with CMAKE_PREFIX_PATH, or let CMake "
    "download it with -DBATCHNORM_FETCH_DEPENDENCIES=ON.")
endfunction()

function(batchnorm_require_eigen)
  if(TARGET Eigen3::Eigen)
    return()  # the project that includes this one has already chosen its Eigen
  endif()
  # The version is compared here and not in the request, because Eigen 5 refuses requests for 3.4.
  find_package(Eigen3 CONFIG QUIET)
  if(Eigen3_FOUND AND Eigen3_VERSION VERSION_LESS 3.4)
    message(FATAL_ERROR "batchnorm: needs Eigen 3.4 or later, found ${Eigen3_VERSION} in "
      "${Eigen3_DIR}. Set Eigen3_DIR to a newer one.")
  elseif(NOT Eigen3_FOUND AND BATCHNORM_FETCH_DEPENDENCIES)
    batchnorm_unpack(eigen https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
                     8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72)
    batchnorm_headers_only(Eigen3::Eigen "${eigen_SOURCE_DIR}")
  elseif(NOT Eigen3_FOUND)
    batchnorm_missing("Eigen 3.4 or later" libeigen3-dev)
  endif()
endfunction()

# The header io/safetensors.hpp needs nlohmann/json; so do the tests and examples that include it.
function(batchnorm_require_json)
  if(TARGET nlohmann_json::nlohmann_json)
    return()
  endif()
  find_package(nlohmann_json CONFIG QUIET)
  if(NOT nlohmann_json_FOUND AND BATCHNORM_FETCH_DEPENDENCIES)
    batchnorm_unpack(json https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
                     d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
    batchnorm_headers_only(nlohmann_json::nlohmann_json "${json_SOURCE_DIR}/include")
  elseif(NOT nlohmann_json_FOUND)
    batchnorm_missing("nlohmann/json" nlohmann-json3-dev)
  endif()
endfunction()

# Version 3 is a library, version 2 one header: tests/support/catch.hpp hides the difference.
function(batchnorm_require_catch2)
  if(TARGET Catch2::Catch2)
    return()
  endif()
  find_package(Catch2 CONFIG QUIET)
  if(Catch2_FOUND AND Catch2_VERSION VERSION_LESS 2.13)
    message(FATAL_ERROR "batchnorm: the tests need Catch2 2.13 or later, found ${Catch2_VERSION} "
      "in ${Catch2_DIR}. Set Catch2_DIR to a newer one.")
  elseif(NOT Catch2_FOUND AND BATCHNORM_FETCH_DEPENDENCIES)
    message(STATUS "batchnorm: Catch2 is not installed, downloading version 3.4.0")
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # in this function: lets the next two lines count
    set(CATCH_INSTALL_DOCS OFF)
    set(CATCH_INSTALL_EXTRAS OFF)
    FetchContent_Declare(catch2
      URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.4.0.tar.gz
      URL_HASH SHA256=122928b814b75717316c71af69bd2b43387643ba076a6ec16e7882bfb2dfacbb)
    FetchContent_MakeAvailable(catch2)
    get_target_property(include_dirs Catch2 INTERFACE_INCLUDE_DIRECTORIES)
    set_target_properties(Catch2 PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${include_dirs}")
  elseif(NOT Catch2_FOUND)
    batchnorm_missing("Catch2 2.13 or later" catch2)
  endif()
endfunction()
