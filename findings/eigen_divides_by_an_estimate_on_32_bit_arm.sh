#!/bin/sh
# SPDX-License-Identifier: MIT
# Eigen divides floats by an estimate on 32-bit ARM, as soon as NEON is used: the quotient is wrong by up
# to 7.7e-6, 65 units in the last place, and of 4000 numbers only 345 divided by themselves give 1. On
# 64-bit ARM, on x86 and without NEON the division is exact. Only whole registers are affected: the
# values left at the end of an array are divided exactly, so that equal values have unequal quotients.
# EIGEN_FAST_MATH=0 changes nothing, EIGEN_DONT_VECTORIZE does. A batch normalisation that divides by the
# deviation, or by the number of values, is that much off.
#
# Version: Eigen 3.4.0, Debian 12 (bookworm), package libeigen3-dev 3.4.0-4, compiled with
#          g++-12-arm-linux-gnueabihf 12.2.0-14cross1.
# Source:  Eigen/src/Core/arch/NEON/PacketMath.h, pdiv<Packet4f>: a reciprocal estimate and one Newton
#          step, unless EIGEN_ARCH_ARM64.
# Seen on: qemu-arm 7.2 (package qemu-user-static 1:7.2+dfsg-7+deb12u18+b3), which computes the estimate
#          as the ARM Architecture Reference Manual defines it, to the bit.
#
# Output seen, for arrays of 5 floats and the divisors 1, 1.001, ... 4.999:
#
#   with NEON, first value: largest relative error 7.7e-06, d / d is 1 for 345 of 4000
#   with NEON, last value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
#   without NEON, first value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
#   without NEON, last value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
#   as stated
#
#   findings/eigen_divides_by_an_estimate_on_32_bit_arm.sh
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
#include <cmath>
#include <cstdio>

#include <Eigen/Core>

int main(int, char** arguments) {
  double largest[2] = {0, 0};
  int ones[2] = {0, 0}, tried = 0;
  for (; tried < 4000; ++tried) {
    const float divisor = 1 + tried / 1000.f;
    Eigen::Array<float, 5, 1> divisors;
    divisors.setConstant(divisor);
    const Eigen::Array<float, 5, 1> inverses = 1 / divisors, quotients = divisors / divisors;
    for (int part = 0; part < 2; ++part) {
      const int i = part * 4;  // the first, or the one behind the only whole register
      largest[part] = std::fmax(largest[part], std::fabs(double(inverses[i]) * divisor - 1));
      ones[part] += quotients[i] == 1;
    }
  }
  for (int part = 0; part < 2; ++part)
    std::printf("%s, %s value: largest relative error %.2g, d / d is 1 for %d of %d\n", arguments[1],
                part == 0 ? "first" : "last", largest[part], ones[part], tried);
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
with NEON, first value: largest relative error 7.7e-06, d / d is 1 for 345 of 4000
with NEON, last value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
without NEON, first value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
without NEON, last value: largest relative error 5.9e-08, d / d is 1 for 4000 of 4000
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
