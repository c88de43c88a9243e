# SPDX-License-Identifier: MIT
# The target batchnorm::mpi, for include/batchnorm/distributed/mpi.hpp: batchnorm::batchnorm and the
# MPI that CMake finds (MPI_HOME or MPI_CXX_COMPILER choose between several). Part of this build with
# BATCHNORM_MPI, and of installed ones as find_package(batchnorm COMPONENTS mpi).

# The old C++ functions of MPI, which nothing here uses, are left out.
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI QUIET COMPONENTS CXX)
if(MPI_CXX_FOUND AND NOT TARGET batchnorm::mpi)
  add_library(batchnorm::mpi INTERFACE IMPORTED GLOBAL)
  target_link_libraries(batchnorm::mpi INTERFACE batchnorm::batchnorm MPI::MPI_CXX)
endif()
