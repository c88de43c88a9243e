#!/bin/sh
# SPDX-License-Identifier: MIT
# MPI_Allreduce with MPI_MAX does not hand a NaN to all, and under MPICH it does not even hand the same
# number to all: of 2 ranks, one with a NaN and one with 2, one ends with 2 and the other with NaN.
# Ranks that agree this way to stop, or to skip a step, do not agree. Open MPI's ranks have the same
# number, whichever stood on one side of the comparison: of 4 ranks, the NaN of rank 1 changes nothing,
# that of rank 2 hides rank 3 as well, which has the largest number, 4. MPI_MIN is alike. A sum has the
# NaN on every rank, under both.
#
# Version: MPICH 4.0.2 and Open MPI 4.1.4, Debian 12 (bookworm), packages mpich and libmpich-dev
#          4.0.2-3+b1, openmpi-bin and libopenmpi-dev 4.1.4-3+b1.
# Source:  MPI 4.0, 6.9.6: all processes of the group receive identical results. Of a NaN in MPI_MAX
#          (6.9.2) it says nothing; what both do is seen here.
# Seen on: AMD EPYC, 2 cores, one machine.
#
# Output seen, for the values 1, 2, ... of ranks 0, 1, ..., one of them replaced by a NaN, rank by rank:
#
#   MPICH, rank 0 of 2: maximum 2 nan, sum nan nan
#   MPICH, rank 1 of 2: maximum nan 1, sum nan nan
#   Open MPI, rank 1 of 4: maximum 4 4 4 4, sum nan nan nan nan
#   Open MPI, rank 2 of 4: maximum 2 2 2 2, sum nan nan nan nan
#   as stated
#
#   findings/mpi_maximum_of_a_nan_differs_between_ranks.sh
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
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static void print(const char* name, const double* values, int ranks) {
  printf("%s", name);
  for (int i = 0; i < ranks; ++i) {
    if (isnan(values[i])) printf(" nan");
    else printf(" %g", values[i]);
  }
}

int main(int argc, char** argv) {
  int rank = 0, ranks = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int without = atoi(argv[1]);
  const double value = rank == without ? NAN : rank + 1;
  double mine[2], maxima[16], sums[16];
  MPI_Allreduce(&value, &mine[0], 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  MPI_Allreduce(&value, &mine[1], 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  MPI_Gather(&mine[0], 1, MPI_DOUBLE, maxima, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  MPI_Gather(&mine[1], 1, MPI_DOUBLE, sums, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    printf("rank %d of %d: ", without, ranks);
    print("maximum", maxima, ranks);
    print(", sum", sums, ranks);
    printf("\n");
  }
  MPI_Finalize();
}
C
mpicc.mpich program.c -o mpich -lm || cannot_try "the program cannot be built with MPICH"
mpicc.openmpi program.c -o openmpi -lm || cannot_try "the program cannot be built with Open MPI"

for without in 0 1; do
  echo "MPICH, $(mpirun.mpich -n 2 ./mpich $without)" | tee -a seen
done
for without in 1 2; do
  echo "Open MPI, $(mpirun.openmpi --allow-run-as-root --oversubscribe -n 4 ./openmpi $without)" |
    tee -a seen
done
cat >expected <<'TXT'
MPICH, rank 0 of 2: maximum 2 nan, sum nan nan
MPICH, rank 1 of 2: maximum nan 1, sum nan nan
Open MPI, rank 1 of 4: maximum 4 4 4 4, sum nan nan nan nan
Open MPI, rank 2 of 4: maximum 2 2 2 2, sum nan nan nan nan
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
