#!/bin/sh
# SPDX-License-Identifier: MIT
# VOLK's inverse square root of a vector of floats is right to three or four digits, which neither its
# name nor its documentation says, and equal values have different roots in the same vector: full
# registers are the processor's estimate (rsqrtps), the rest at the end is another one, made from the
# bits of the number. With 11 channels of the same variance the last three are scaled differently, and a
# variance of 0 has an infinite root in the first eight and one of 2e19 in the last three.
#
# Version: VOLK 2.5.2, Debian 12 (bookworm), packages libvolk2-dev and libvolk2.5 2.5.2-3, with
#          liborc-0.4-0 1:0.4.33-2.
# Source:  volk/volk_32f_invsqrt_32f.h: Q_rsqrt and the loops before it.
# Seen on: AMD EPYC with AVX2. Other processors have other estimates, as exact as these.
#
# Output seen, for 11 variances:
#
#   all 2: the first eight are equal, the last three are equal, the two differ
#   1 to 4: largest relative error of the first eight 2e-05 to 4e-04, of the last three 0.0018
#   all 0: inf inf inf inf inf inf inf inf 2e+19 2e+19 2e+19
#   as stated
#
#   findings/volk_inverse_root_depends_on_the_position.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the packages into a temporary folder; needs apt-get and dpkg of Debian 12 on
# x86-64 with AVX, and cc.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

grep -qw avx /proc/cpuinfo || cannot_try "this processor has no AVX"
for package in libvolk2-dev=2.5.2-3 libvolk2.5=2.5.2-3 liborc-0.4-0=1:0.4.33-2; do
  apt-get download -qq -o APT::Sandbox::User=root "$package" ||
    cannot_try "$package cannot be downloaded"
done
for file in ./*.deb; do dpkg -x "$file" unpacked; done
libraries=$folder/unpacked/usr/lib/x86_64-linux-gnu

cat >program.c <<'C'
#include <math.h>
#include <stdio.h>
#include <volk/volk.h>

enum { count = 11, vector = 8, values = 3000 };
static float *in, *out;

static void roots(float value) {
  for (int i = 0; i < count; ++i) in[i] = value;
  volk_32f_invsqrt_32f(out, in, count);
}

static int all_equal(int first, int end) {
  for (int i = first; i < end; ++i)
    if (out[i] != out[first]) return 0;
  return 1;
}

int main(void) {
  in = volk_malloc(count * sizeof *in, volk_get_alignment());
  out = volk_malloc(count * sizeof *out, volk_get_alignment());

  roots(2);
  printf("all 2: the first eight are %s, the last three are %s, the two %s\n",
         all_equal(0, vector) ? "equal" : "different", all_equal(vector, count) ? "equal" : "different",
         out[0] == out[vector] ? "do not differ" : "differ");

  double largest[2] = {0, 0};
  for (int i = 0; i <= values; ++i) {
    const float value = 1 + 3 * (float)i / values;
    roots(value);
    for (int part = 0; part < 2; ++part) {
      const double error = fabs(out[part * vector] * sqrt(value) - 1);
      if (error > largest[part]) largest[part] = error;
    }
  }
  printf("1 to 4: largest relative error of the first eight ");
  if (largest[0] > 2e-5 && largest[0] < 4e-4) printf("2e-05 to 4e-04");
  else printf("%.2g", largest[0]);
  printf(", of the last three %.2g\n", largest[1]);

  roots(0);
  printf("all 0:");
  for (int i = 0; i < count; ++i) printf(" %.2g", out[i]);
  printf("\n");
}
C
cc -isystem unpacked/usr/include program.c -o program "$libraries/libvolk.so.2.5" -lm \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"
LD_LIBRARY_PATH="$libraries" VOLK_CONFIGPATH="$folder" ./program | tee seen
cat >expected <<'TXT'
all 2: the first eight are equal, the last three are equal, the two differ
1 to 4: largest relative error of the first eight 2e-05 to 4e-04, of the last three 0.0018
all 0: inf inf inf inf inf inf inf inf 2e+19 2e+19 2e+19
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
