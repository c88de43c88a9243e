#!/bin/sh
# SPDX-License-Identifier: MIT
# One MPI_Allreduce with MPI_SUM over many elements does not add them all in one order: Open MPI cuts a
# message of a few KiB on 3 ranks into three parts, sends them round a ring, and each part is added from
# another rank on. Channels with the same values on every rank get different sums, by their place in the
# message, and a channel that is sent alone gets another sum than in the company of 999. Every rank has
# the same numbers, and a second run, too; a network with one channel more does not. MPICH adds all
# elements in one order, at each of these sizes.
#
# Version: Open MPI 4.1.4 and MPICH 4.0.2, Debian 12 (bookworm), packages openmpi-bin and
#          libopenmpi-dev 4.1.4-3+b1, mpich and libmpich-dev 4.0.2-3+b1.
# Source:  ompi/mca/coll/tuned/coll_tuned_decision_fixed.c of open-mpi/ompi: the algorithm goes by the
#          sizes of communicator and message; coll_base_allreduce.c, ring. MPI 4.0, 6.9.1: the order may
#          be changed, for the operation is assumed to be associative.
# Seen on: AMD EPYC, 2 cores, one machine.
#
# Output seen, for 1e16, 1 and -1e16 on ranks 0, 1 and 2, in every channel:
#
#   Open MPI: 1 channel: 0
#   Open MPI: 100 channels: 0
#   Open MPI: 1000 channels: 0, from 667 on 1
#   Open MPI: 20000 channels: 0, from 13334 on 1
#   MPICH: 1 channel: 0
#   MPICH: 100 channels: 0
#   MPICH: 1000 channels: 0
#   MPICH: 20000 channels: 0
#   as stated
#
#   findings/open_mpi_sums_equal_channels_differently.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Needs the four packages installed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for package in mpich=4.0.2-3+b1 libmpich-dev=4.0.2-3+b1 openmpi-bin=4.1.4-3+b1 \
  libopenmpi-dev=4.1.4-3+b1; do
  version=$(dpkg-query -W -f '${Version}' "${package%%=*}" 2>/dev/null) ||
    cannot_try "${package%%=*} is not installed"
  [ "$version" = "${package#*=}" ] || cannot_try "${package%%=*} has version $version"
done

cat >program.c <<'C'
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { most = 20000 };
static double values[most], sums[most], first_ranks[most];

int main(int argc, char** argv) {
  const double of_rank[] = {1e16, 1, -1e16};
  const int sizes[] = {1, 100, 1000, most};
  int rank = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  for (int i = 0; i < most; ++i) values[i] = of_rank[rank];
  for (int size = 0; size < 4; ++size) {
    const int channels = sizes[size];
    MPI_Allreduce(values, sums, channels, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    memcpy(first_ranks, sums, sizeof sums);
    MPI_Bcast(first_ranks, channels, MPI_DOUBLE, 0, MPI_COMM_WORLD);
    if (memcmp(first_ranks, sums, channels * sizeof *sums) != 0) printf("ranks differ\n");
    if (rank != 0) continue;
    printf("%s: %d channel%s: %g", argv[1], channels, channels == 1 ? "" : "s", sums[0]);
    for (int i = 1; i < channels; ++i)
      if (sums[i] != sums[i - 1]) printf(", from %d on %g", i, sums[i]);
    printf("\n");
  }
  MPI_Finalize();
}
C
mpicc.openmpi program.c -o openmpi || cannot_try "the program cannot be built with Open MPI"
mpicc.mpich program.c -o mpich || cannot_try "the program cannot be built with MPICH"
mpirun.openmpi --allow-run-as-root --oversubscribe -n 3 ./openmpi 'Open MPI' | tee seen
mpirun.mpich -n 3 ./mpich 'MPICH' | tee -a seen
cat >expected <<'TXT'
Open MPI: 1 channel: 0
Open MPI: 100 channels: 0
Open MPI: 1000 channels: 0, from 667 on 1
Open MPI: 20000 channels: 0, from 13334 on 1
MPICH: 1 channel: 0
MPICH: 100 channels: 0
MPICH: 1000 channels: 0
MPICH: 20000 channels: 0
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
