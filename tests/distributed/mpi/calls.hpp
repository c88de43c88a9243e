// SPDX-License-Identifier: MIT
// Counts what a program asks of MPI, through the profiling interface that every MPI has: functions
// of these names in a program take the place of the library's, which are PMPI_* as well.
#ifndef BATCHNORM_TESTS_DISTRIBUTED_MPI_CALLS_HPP
#define BATCHNORM_TESTS_DISTRIBUTED_MPI_CALLS_HPP

#include <mpi.h>

struct Calls {
  int communicators = 0;  ///< made and not freed
  int requests = 0;       ///< started and not ended
  int keyvals = 0;        ///< made and not freed
  int exchanges = 0;
};

inline Calls calls;

extern "C" {
int MPI_Comm_dup(MPI_Comm from, MPI_Comm* to) {
  ++calls.communicators;
  return PMPI_Comm_dup(from, to);
}
int MPI_Comm_free(MPI_Comm* communicator) {
  --calls.communicators;
  return PMPI_Comm_free(communicator);
}
int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function* copy, MPI_Comm_delete_attr_function* free,
                           int* key, void* state) {
  ++calls.keyvals;
  return PMPI_Comm_create_keyval(copy, free, key, state);
}
int MPI_Comm_free_keyval(int* key) {
  --calls.keyvals;
  return PMPI_Comm_free_keyval(key);
}
int MPI_Iallgather(const void* mine, int count, MPI_Datatype type, void* all, int all_count,
                   MPI_Datatype all_type, MPI_Comm communicator, MPI_Request* request) {
  ++calls.requests;
  ++calls.exchanges;
  return PMPI_Iallgather(mine, count, type, all, all_count, all_type, communicator, request);
}
int MPI_Iallreduce(const void* mine, void* all, int count, MPI_Datatype type, MPI_Op op,
                   MPI_Comm communicator, MPI_Request* request) {
  ++calls.requests;
  ++calls.exchanges;
  return PMPI_Iallreduce(mine, all, count, type, op, communicator, request);
}
int MPI_Test(MPI_Request* request, int* done, MPI_Status* status) {
  const int code = PMPI_Test(request, done, status);
  if (*done != 0) --calls.requests;
  return code;
}
}

#endif  // BATCHNORM_TESTS_DISTRIBUTED_MPI_CALLS_HPP
