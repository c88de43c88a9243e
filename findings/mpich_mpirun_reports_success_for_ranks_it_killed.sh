#!/bin/sh
# SPDX-License-Identifier: MIT
# When one rank leaves with exit(0) before MPI_Finalize, MPICH's mpirun kills all other ranks in the
# middle of their work, prints nothing and returns 0: to a script the job has succeeded. (A rank
# that is killed, or leaves with another number, is reported.) The standard wants MPI_Finalize from
# every rank, so that the program is wrong, but nobody is told. Open MPI's mpirun returns 1 and says
# which rank it was.
#
# Version: MPICH 4.0.2 with Hydra, Debian 12 (bookworm), packages mpich and libmpich-dev 4.0.2-3+b1.
# Source:  mpirun.mpich -help: -disable-auto-cleanup is "don't cleanup processes on error". That
#          exit(0) sets off that clean-up, and counts as success, is seen here.
# Seen on: AMD EPYC, 2 cores, one machine.
#
# Output seen:
#
#   mpirun returned 0 and printed nothing; of 3 ranks 0 finished their work
#   with -disable-auto-cleanup: 2 of 3 finished
#   as stated
#
#   findings/mpich_mpirun_reports_success_for_ranks_it_killed.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Needs the two packages installed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for package in mpich libmpich-dev; do
  version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null) ||
    cannot_try "$package is not installed"
  [ "$version" = 4.0.2-3+b1 ] || cannot_try "$package has version $version"
done

# Rank 2 leaves at once. The others work for two seconds, and leave a file behind when they are
# done; none waits for another.
cat >program.c <<'C'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char** argv) {
  int rank = 0;
  char name[32];
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 2) exit(0);
  sleep(2);
  snprintf(name, sizeof name, "finished.%d", rank);
  fclose(fopen(name, "w"));
  _exit(0);
}
C
mpicc.mpich program.c -o program || cannot_try "the program cannot be built"

code=0
mpirun.mpich -n 3 ./program >output 2>&1 || code=$?
killed=$(find . -name 'finished.*' | wc -l)
said=nothing
if [ -s output ]; then said=something; fi
echo "mpirun returned $code and printed $said; of 3 ranks $killed finished their work"
mpirun.mpich -disable-auto-cleanup -n 3 ./program >output 2>&1 || true
kept=$(find . -name 'finished.*' | wc -l)
echo "with -disable-auto-cleanup: $kept of 3 finished"

if [ "$code" = 0 ] && [ "$said" = nothing ] && [ "$killed" = 0 ] && [ "$kept" = 2 ]; then
  echo "as stated"
else
  echo "CHANGED"
  exit 1
fi
