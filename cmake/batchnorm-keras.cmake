# SPDX-License-Identifier: MIT
# The target batchnorm::keras, for include/batchnorm/io/keras.hpp: batchnorm::batchnorm, the HDF5
# library for C (Debian: libhdf5-dev) and nlohmann/json. Part of this build with BATCHNORM_KERAS
# where both are found, and of installed ones as find_package(batchnorm COMPONENTS keras).

if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json CONFIG QUIET)
endif()
# CMake's own module asks for the language C, which a project in C++ need not have.
find_path(BATCHNORM_HDF5_INCLUDE_DIR hdf5.h PATH_SUFFIXES hdf5/serial)
find_library(BATCHNORM_HDF5_LIBRARY NAMES hdf5 hdf5_serial PATH_SUFFIXES hdf5/serial)
mark_as_advanced(BATCHNORM_HDF5_INCLUDE_DIR BATCHNORM_HDF5_LIBRARY)
if(TARGET nlohmann_json::nlohmann_json AND BATCHNORM_HDF5_INCLUDE_DIR AND BATCHNORM_HDF5_LIBRARY
   AND NOT TARGET batchnorm::keras)
  add_library(batchnorm::keras INTERFACE IMPORTED GLOBAL)
  target_link_libraries(batchnorm::keras INTERFACE
    batchnorm::batchnorm "${BATCHNORM_HDF5_LIBRARY}" nlohmann_json::nlohmann_json)
  target_include_directories(batchnorm::keras SYSTEM INTERFACE "${BATCHNORM_HDF5_INCLUDE_DIR}")
endif()
