#!/bin/sh
# SPDX-License-Identifier: MIT
# jsfive, a reader of HDF5 in JavaScript, takes every float of two bytes for an IEEE half. HDF5
# stores where sign, exponent and fraction lie, so that a file of bfloat16, a common type of weights,
# says what it is, and the C library and its tools read it as it was written. jsfive skips that
# description: it calls the type <f2 and answers with other numbers, of the right sign and of a
# plausible size.
#
# Version: npm jsfive 0.4.2; the file is written and printed with HDF5 1.10.8, Debian 12 (bookworm),
#          packages libhdf5-dev and hdf5-tools 1.10.8+repack1-1.
# Source:  jsfive, esm/datatype-msg.js, _determine_dtype_floating_point: the floating-point
#          properties are not read. HDF5 file format specification, IV.A.2.d, class 1: exponent
#          location, size and bias.
#
# Output seen:
#
#   written 1 -2.5 5 0.25
#   h5dump: 1, -2.5, 5, 0.25
#   jsfive: <f2 1.875, -2.0625, 2.3125, 1.625
#   as stated
#
#   findings/jsfive_reads_bfloat16_as_half.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages and what they depend on go into a temporary folder.
# Needs apt-get and dpkg of Debian 12, cc, node and npm.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for program in node npm; do
  command -v "$program" >/dev/null || cannot_try "no $program"
done
npm install --ignore-scripts --no-audit --no-fund --silent jsfive@0.4.2 >/dev/null 2>&1 ||
  cannot_try 'no jsfive 0.4.2'
# Of a system without packages, so that everything is downloaded whatever is installed here.
mkdir -p archives/partial
: >no_packages
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root \
  -o Debug::NoLocking=1 -o Dir::State::status="$folder/no_packages" \
  -o Dir::Cache::archives="$folder/archives" libhdf5-dev=1.10.8+repack1-1 \
  hdf5-tools=1.10.8+repack1-1 >/dev/null || cannot_try "libhdf5-dev cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6* | */linux-libc-dev_* | */libgcc-s1_* | */libstdc++6_*) ;; # the compiler's are here
    *) dpkg -x "$file" unpacked ;;
  esac
done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >write.c <<'C'
#include <hdf5.h>

int main(void) {
  const float values[4] = {1, -2.5f, 5, 0.25f};
  const hsize_t count = 4;
  const hid_t file = H5Fcreate("weights.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hid_t space = H5Screate_simple(1, &count, NULL);
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  /* Sign in bit 15, 8 bits of exponent from bit 7, 7 bits of fraction from bit 0. */
  H5Tset_fields(type, 15, 7, 8, 0, 7);
  H5Tset_size(type, 2);
  H5Tset_ebias(type, 127);
  const hid_t data =
      H5Dcreate2(file, "gamma", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const herr_t status = H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  H5Dclose(data);
  H5Fclose(file);
  return status < 0;
}
C
LD_LIBRARY_PATH="$libraries" cc write.c -o write -isystem unpacked/usr/include/hdf5/serial \
  -L "$(dirname "$(find unpacked -path '*serial/libhdf5.so')")" -lhdf5 \
  -Wl,--allow-shlib-undefined || cannot_try "the writer cannot be built"
LD_LIBRARY_PATH="$libraries" ./write || cannot_try "the file cannot be written"
cat >read.mjs <<'JS'
import {File} from 'jsfive';
import {readFileSync} from 'fs';
const bytes = new Uint8Array(readFileSync('weights.h5'));
const gamma = new File(bytes.buffer, 'weights.h5').get('gamma');
console.log(`jsfive: ${gamma.dtype} ${[...gamma.value].join(', ')}`);
JS
{
  echo 'written 1 -2.5 5 0.25'
  LD_LIBRARY_PATH="$libraries" unpacked/usr/bin/h5dump -d gamma weights.h5 |
    sed -n 's/^ *(0): /h5dump: /p'
  node read.mjs
} | tee seen
cat >expected <<'TXT'
written 1 -2.5 5 0.25
h5dump: 1, -2.5, 5, 0.25
jsfive: <f2 1.875, -2.0625, 2.3125, 1.625
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
