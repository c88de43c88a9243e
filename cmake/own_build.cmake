# SPDX-License-Identifier: MIT
# How this project compiles its own programs, the tests and the examples. Nobody else sees this.

add_library(batchnorm_own_build INTERFACE)
target_link_libraries(batchnorm_own_build INTERFACE batchnorm::batchnorm)
if(MSVC)
  target_compile_options(batchnorm_own_build INTERFACE /W4 /WX /permissive- /bigobj)
else()
  target_compile_options(batchnorm_own_build INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror
    # GCC guesses, after inlining, also about Eigen 5 and under sanitizers, and is often wrong.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
