#!/bin/sh
# SPDX-License-Identifier: MIT
# Loading CAPS, a file of audio plug-ins, changes what a host computes: from dlopen() on, the thread
# that loaded it takes subnormal numbers for 0, whether a plug-in of it ever runs or not, and threads
# started later do, too. Looking through installed plug-ins is enough. A variance of 1e-40, of
# deviations of 1e-20, is 0 from then on in the host and in every network that it runs; threads that
# were there before still have it. dlclose() does not undo it.
#
# Version: CAPS 0.9.26, Debian 12 (bookworm), package caps 0.9.26-1. dpf-plugins-ladspa 1.6+ds-2,
#          dragonfly-reverb-lv2 3.2.8-1 and zam-plugins 4.1+ds-1 of the same distribution do it as well.
# Source:  GCC 13 Release Series, caveats: -ffast-math no longer adds start-up code that alters the
#          floating-point environment to shared objects. Debian 12 compiles with GCC 12, which does.
#
# Output seen, for the float variance of values 1e-20 off their mean:
#
#   before: this thread 1e-40, another one 1e-40
#   loaded: this thread 0, the other one 1e-40, a new one 0
#   closed: this thread 0
#   as stated
#
#   findings/caps_changes_the_arithmetic_of_its_host.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the package into a temporary folder; needs apt-get and dpkg of Debian 12 on
# x86-64, and cc.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

[ "$(uname -m)" = x86_64 ] || cannot_try "this is no x86-64"
apt-get download -qq -o APT::Sandbox::User=root caps=0.9.26-1 || cannot_try "caps cannot be downloaded"
dpkg -x caps_*.deb unpacked

cat >program.c <<'C'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static volatile float deviation = 1e-20f;
static pthread_barrier_t turn;
static double earlier[2], later;

static double variance(void) {
  volatile float square = deviation * deviation;
  /* From the bits, for a conversion to double would take a subnormal number for 0, too. */
  union { float value; unsigned bits; } both = {square};
  return both.bits * 0x1p-149;
}

static void* thread_from_before(void* unused) {
  earlier[0] = variance();
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);
  earlier[1] = variance();
  return unused;
}

static void* new_thread(void* unused) {
  later = variance();
  return unused;
}

int main(int argc, char** argv) {
  pthread_t first, second;
  pthread_barrier_init(&turn, 0, 2);
  pthread_create(&first, 0, thread_from_before, 0);
  pthread_barrier_wait(&turn);
  printf("before: this thread %.3g, another one %.3g\n", variance(), earlier[0]);

  void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : 0;
  if (!library) return 2;
  const double loaded = variance();
  pthread_barrier_wait(&turn);
  pthread_join(first, 0);
  pthread_create(&second, 0, new_thread, 0);
  pthread_join(second, 0);
  printf("loaded: this thread %.3g, the other one %.3g, a new one %.3g\n", loaded, earlier[1], later);

  dlclose(library);
  printf("closed: this thread %.3g\n", variance());
}
C
cc -O1 program.c -o program -pthread -ldl || cannot_try "the program cannot be built"
./program "$folder/unpacked/usr/lib/ladspa/caps.so" >seen || cannot_try "caps.so cannot be loaded"
cat seen
cat >expected <<'TXT'
before: this thread 1e-40, another one 1e-40
loaded: this thread 0, the other one 1e-40, a new one 0
closed: this thread 0
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
