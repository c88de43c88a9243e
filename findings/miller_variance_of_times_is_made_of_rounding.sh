#!/bin/sh
# SPDX-License-Identifier: MIT
# Miller's variance keeps the sum of the values and that of their squares, in double, and subtracts
# at the end. Of numbers as large as Unix times nothing is left of a deviation of seconds: four times
# of variance 30 have 683, and four whole numbers just above a thousand million have 0. What is
# negative is made 0, so that nothing looks wrong; stddev is made of the same difference.
#
# Version: Miller 6.6.0, Debian 12 (bookworm), package miller 6.6.0-2+b3.
# Source:  internal/pkg/lib/stats.go of johnkerl/miller, GetVar, which has the formula and the clamp.
#
# Output seen, for an offset and 4, 7, 13, 16, whose variance is 30:
#
#   offset 0: x_var=30,x_stddev=5.477225575051661
#   offset 1000000000: x_var=0,x_stddev=0
#   offset 1700000000.25: x_var=682.6666666666666,x_stddev=26.127890589687233
#   as stated
#
#   findings/miller_variance_of_times_is_made_of_rounding.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the package into a temporary folder; needs apt-get and dpkg of Debian 12.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

apt-get download -qq -o APT::Sandbox::User=root miller=6.6.0-2+b3 ||
  cannot_try "miller cannot be downloaded"
dpkg -x miller_*.deb unpacked

variance() {
  offset=$1
  shift
  printf 'x=%s\n' "$@" | unpacked/usr/bin/mlr stats1 -a var,stddev -f x |
    sed "s/^/offset $offset: /" | tee -a seen
}
variance 0 4 7 13 16
variance 1000000000 1000000004 1000000007 1000000013 1000000016
variance 1700000000.25 1700000004.25 1700000007.25 1700000013.25 1700000016.25
cat >expected <<'TXT'
offset 0: x_var=30,x_stddev=5.477225575051661
offset 1000000000: x_var=0,x_stddev=0
offset 1700000000.25: x_var=682.6666666666666,x_stddev=26.127890589687233
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
