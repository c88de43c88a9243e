#!/bin/sh
# SPDX-License-Identifier: MIT
# NEON of 32-bit ARM takes subnormal floats for 0, whatever the floating-point control register says;
# the scalar unit beside it does not. A library that is vectorised, such as Eigen, therefore loses them
# in whole registers and keeps them at the end of an array: of 5 variances of 1e-39, multiplied by 1,
# four are 0 and the last is 1e-39, and 1 / sqrt of the same is infinite four times and 3.2e19 once. The
# compiler knows, and vectorises no float loop by itself unless it is told that this does not matter.
#
# Version: Eigen 3.4.0, Debian 12 (bookworm), package libeigen3-dev 3.4.0-4, compiled with
#          g++-12-arm-linux-gnueabihf 12.2.0-14cross1.
# Source:  ARM Architecture Reference Manual, ARMv7-A, A2.7: Advanced SIMD has the standard arithmetic,
#          which flushes to zero. GCC manual, ARM options, -mfpu: auto-vectorisation for NEON needs
#          -funsafe-math-optimizations, for this reason.
# Seen on: qemu-arm 7.2 (package qemu-user-static 1:7.2+dfsg-7+deb12u18+b3).
#
# Output seen:
#
#   with NEON: 0 0 0 0 1e-39, 1 / sqrt: inf inf inf inf 3.16e+19
#   without NEON: 1e-39 1e-39 1e-39 1e-39 1e-39, 1 / sqrt: 3.16e+19 3.16e+19 3.16e+19 3.16e+19 3.16e+19
#   as stated
#
#   findings/arm_neon_loses_subnormal_variances_by_position.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages are unpacked in a temporary folder (582 MB). Needs
# apt-get and dpkg of Debian 12 on x86-64.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

[ "$(uname -m)" = x86_64 ] || cannot_try "this is no x86-64"
# Of a system without packages, so that everything is downloaded whatever is installed here.
mkdir -p archives/partial
: >no_packages
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root \
  -o Debug::NoLocking=1 -o Dir::State::status="$folder/no_packages" \
  -o Dir::Cache::archives="$folder/archives" g++-12-arm-linux-gnueabihf=12.2.0-14cross1 \
  libeigen3-dev=3.4.0-4 qemu-user-static=1:7.2+dfsg-7+deb12u18+b3 >/dev/null ||
  cannot_try "the packages cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6_* | */libgcc-s1_* | */libstdc++6_*) ;; # this system's are there
    *) dpkg -x "$file" unpacked ;;
  esac
done
rm -r archives
usr=$folder/unpacked/usr
arm=$usr/arm-linux-gnueabihf

cat >program.cpp <<'CPP'
#include <cstdio>

#include <Eigen/Core>

using Variances = Eigen::Array<float, 5, 1>;

void print(const Variances& values) {
  for (const float value : values) std::printf(" %.3g", value);
}

int main(int, char** arguments) {
  volatile float one = 1, small = 1e-39f;  // so that the compiler cannot know the results
  Variances variances;
  variances.setConstant(float(small));
  const Variances products = variances * float(one), inverses = float(one) / variances.sqrt();
  std::printf("%s:", arguments[1]);
  print(products);
  std::printf(", 1 / sqrt:");
  print(inverses);
  std::printf("\n");
}
CPP
build() {
  PATH="$usr/bin:$PATH" LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu" arm-linux-gnueabihf-g++-12 -O1 \
    -static -isystem "$usr/include/eigen3" -isystem "$arm/include/c++/12" \
    -isystem "$arm/include/c++/12/arm-linux-gnueabihf" -isystem "$arm/include" -B"$arm/lib" \
    -L"$arm/lib" "$@" program.cpp -o program || cannot_try "the program cannot be built"
}

build -mfpu=neon
"$usr/bin/qemu-arm-static" ./program "with NEON" | tee seen
build -mfpu=vfpv3-d16
"$usr/bin/qemu-arm-static" ./program "without NEON" | tee -a seen
cat >expected <<'TXT'
with NEON: 0 0 0 0 1e-39, 1 / sqrt: inf inf inf inf 3.16e+19
without NEON: 1e-39 1e-39 1e-39 1e-39 1e-39, 1 / sqrt: 3.16e+19 3.16e+19 3.16e+19 3.16e+19 3.16e+19
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
