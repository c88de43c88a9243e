# SPDX-License-Identifier: MIT
# How this project compiles its own programs, the tests and the examples. Nobody else sees this.

get_property(several_types GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CXX_FLAGS AND NOT several_types)
  message(STATUS "batchnorm: most tests and examples are not optimised, which compiles sooner; "
                 "-DCMAKE_BUILD_TYPE=Release optimises all")
endif()

add_library(batchnorm_own_build INTERFACE)
target_link_libraries(batchnorm_own_build INTERFACE batchnorm::batchnorm)
if(MSVC)
  target_compile_options(batchnorm_own_build INTERFACE /W4 /WX /permissive- /bigobj)
else()
  target_compile_options(batchnorm_own_build INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror)
endif()
