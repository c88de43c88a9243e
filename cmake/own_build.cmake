# SPDX-License-Identifier: MIT
# How this project compiles its own programs, the tests and the examples. Nobody else sees this.

add_library(batchnorm_own_build INTERFACE)
target_link_libraries(batchnorm_own_build INTERFACE batchnorm::batchnorm)
if(MSVC)
  target_compile_options(batchnorm_own_build INTERFACE /W4 /WX /permissive- /bigobj)
else()
  target_compile_options(batchnorm_own_build INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror)
endif()
