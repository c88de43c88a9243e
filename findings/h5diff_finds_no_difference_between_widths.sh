#!/bin/sh
# SPDX-License-Identifier: MIT
# h5diff returns 0 for two files of weights whose layers have different widths. Datasets of different
# shapes are "not comparable" to it, and what is not comparable is not a difference: the number that
# is returned is that of equal files, and with -q nothing is printed at all. A test that compares
# weights with it passes for a batch normalisation of 3 channels against one of 4, and for float
# against whole numbers. A dataset of the same shape with another number in it returns 1.
#
# Version: HDF5 1.10.8, Debian 12 (bookworm), package hdf5-tools 1.10.8+repack1-1.
# Source:  h5diff --help has, of the exit code: "0 if no differences, 1 if differences found, 2 if
#          error". That datasets which cannot be compared are no difference is seen here.
#
# Output seen:
#
#   3 channels against the same 3: returns 0 and prints nothing
#   3 channels against 3 others: returns 1 and prints nothing
#   3 channels against 4: returns 0 and prints nothing
#   3 channels against 3 of whole numbers: returns 0 and prints nothing
#   as stated
#
#   findings/h5diff_finds_no_difference_between_widths.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the package and what it depends on are unpacked in a temporary
# folder. Needs apt-get and dpkg of Debian 12.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

# Of a system without packages, so that everything is downloaded whatever is installed here.
mkdir -p archives/partial
: >no_packages
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root \
  -o Debug::NoLocking=1 -o Dir::State::status="$folder/no_packages" \
  -o Dir::Cache::archives="$folder/archives" hdf5-tools=1.10.8+repack1-1 >/dev/null ||
  cannot_try "hdf5-tools cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6_* | */libgcc-s1_* | */libstdc++6_*) ;; # those that are here
    *) dpkg -x "$file" unpacked ;;
  esac
done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
tool() {
  program=$1
  shift
  LD_LIBRARY_PATH="$libraries" "$folder/unpacked/usr/bin/$program" "$@"
}

# A file with one dataset: its name, the type in which h5import reads, and the numbers.
make() {
  file=$1 type=$2
  shift 2
  echo "$@" >numbers
  tool h5import numbers -dims $# -path batch_norm/gamma -type "$type" -size 32 -outfile "$file" ||
    cannot_try "$file cannot be made"
}
make three.h5 TEXTFP 1 2 3
make same.h5 TEXTFP 1 2 3
make others.h5 TEXTFP 1 2 7
make four.h5 TEXTFP 1 2 3 4
make whole.h5 TEXTIN 1 2 3

compare() {
  code=0
  tool h5diff -q three.h5 "$2" >output 2>&1 || code=$?
  said=nothing
  if [ -s output ]; then said=something; fi
  echo "3 channels against $1: returns $code and prints $said" | tee -a seen
}
compare 'the same 3' same.h5
compare '3 others' others.h5
compare 4 four.h5
compare '3 of whole numbers' whole.h5
cat >expected <<'TXT'
3 channels against the same 3: returns 0 and prints nothing
3 channels against 3 others: returns 1 and prints nothing
3 channels against 4: returns 0 and prints nothing
3 channels against 3 of whole numbers: returns 0 and prints nothing
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
