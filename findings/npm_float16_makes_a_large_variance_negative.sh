#!/bin/sh
# SPDX-License-Identifier: MIT
# The npm package float16 encodes 65520 as infinity, as IEEE 754 rounds it to half. Above that nothing
# holds the exponent back: from 65536 to 131071 it is that of infinity with the number's mantissa beside
# it, which is NaN for most, and from 131072 on it runs into the bit of the sign. A variance of a million
# becomes -0.00023, of the sort that is taken for a rounding error and clamped to 0. From 2^31 on the
# code no longer fits into 16 bits. Nothing is thrown.
#
# Version: npm float16 0.0.1.
# Source:  src/index.js, float16ToByte: nothing compares the exponent with the largest. IEEE 754-2019,
#          7.4: what is too large is rounded to infinity.
#
# Output seen:
#
#   65504 is 65504
#   65520 is Infinity
#   70000 is NaN
#   131072 is -0
#   1000000 is -0.00023281574249267578
#   3000000000 is 0.5
#   as stated
#
#   findings/npm_float16_makes_a_large_variance_negative.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Installs the package into a temporary folder; needs node and npm.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for program in node npm; do
  command -v "$program" >/dev/null || { echo "not tried: no $program"; exit 2; }
done
npm install --ignore-scripts --no-audit --no-fund --silent float16@0.0.1 >/dev/null 2>&1 ||
  { echo 'not tried: no float16 0.0.1'; exit 2; }

cat >run.mjs <<'JS'
import float16 from 'float16';

for (const value of [65504, 65520, 70000, 131072, 1e6, 3e9]) {
  const half = float16.byteToFloat16(float16.float16ToByte(value));
  console.log(`${value} is ${Object.is(half, -0) ? '-0' : half}`);
}
JS
node run.mjs | tee seen
cat >expected <<'TXT'
65504 is 65504
65520 is Infinity
70000 is NaN
131072 is -0
1000000 is -0.00023281574249267578
3000000000 is 0.5
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
