# SPDX-License-Identifier: MIT
# The target batchnorm::module, for `import batchnorm;` (include/batchnorm/batchnorm.cppm): a static
# library of the module alone, which the compiler of each program translates anew.

if(CMAKE_VERSION VERSION_LESS 3.28)
  message(FATAL_ERROR "batchnorm: BATCHNORM_MODULE needs CMake 3.28, this is ${CMAKE_VERSION}. Without "
    "CMake, translate include/batchnorm/batchnorm.cppm as cmake/packages/README.md shows.")
endif()
# Others have not been tried.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  message(FATAL_ERROR "batchnorm: BATCHNORM_MODULE needs clang 16 or later, this is "
    "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
endif()

add_library(batchnorm_module STATIC)
add_library(batchnorm::module ALIAS batchnorm_module)
set_target_properties(batchnorm_module PROPERTIES EXPORT_NAME module POSITION_INDEPENDENT_CODE ON)
target_sources(batchnorm_module PUBLIC FILE_SET batchnorm_modules TYPE CXX_MODULES
               BASE_DIRS "${PROJECT_SOURCE_DIR}/include"
               FILES "${PROJECT_SOURCE_DIR}/include/batchnorm/batchnorm.cppm")
target_compile_features(batchnorm_module PUBLIC cxx_std_20)
target_link_libraries(batchnorm_module PUBLIC batchnorm)
# With the GNU extensions clang 16 finds no module at all; programs must do without them, too.
if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 17)
  set_target_properties(batchnorm_module PROPERTIES CXX_EXTENSIONS OFF)
endif()
