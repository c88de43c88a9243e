#!/bin/sh
# SPDX-License-Identifier: MIT
# "darknet denormalize" folds the batch normalisations of a network into its convolutions, so that it
# answers the same with less work. It divides by sqrt(variance + 1e-5), while the network as it stands
# is run with sqrt(variance) + 1e-6. A channel whose variance is 1e-4 comes out 5 % smaller, one of 1e-6
# three times smaller, and one that did not vary 3000 times.
#
# Version: Darknet, Debian 12 (bookworm), package darknet 0.0.0+git20180914.61c9d02e-2+b4.
# Source:  src/convolutional_layer.c of pjreddie/darknet, denormalize_convolutional_layer; src/blas.c,
#          normalize_cpu.
#
# Output seen, to four digits, for x = 0, mean -0.001, scale 1 and bias 0:
#
#   variance 1: as it stands 0.001, folded 0.001
#   variance 0.0001: as it stands 0.09999, folded 0.09535
#   variance 1e-06: as it stands 0.999, folded 0.3015
#   variance 0: as it stands 1000, folded 0.3162
#   as stated
#
#   findings/darknet_folds_with_another_epsilon_than_it_runs.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the package and what it depends on are unpacked in a temporary
# folder (616 MB). Needs apt-get and dpkg of Debian 12 and perl.
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
  -o Dir::Cache::archives="$folder/archives" darknet=0.0.0+git20180914.61c9d02e-2+b4 >/dev/null ||
  cannot_try "darknet cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6_* | */libgcc-s1_* | */libstdc++6_*) ;; # this system's are there
    *) dpkg -x "$file" unpacked ;;
  esac
done
rm -r archives
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

write_network() {
  cat <<TXT
[net]
batch=1
subdivisions=1
height=4
width=4
channels=3

[convolutional]
batch_normalize=$1
filters=1
size=1
stride=1
pad=0
activation=linear
TXT
}
write_network 1 >network.cfg
write_network 0 >folded.cfg
# Black, so that the convolution's output is 0.
perl -e 'print "P6\n4 4\n255\n", "\0" x 48' >black.ppm

darknet() {
  LD_LIBRARY_PATH="$libraries" unpacked/usr/bin/darknet "$@" >log 2>&1 || { cat log; exit 1; }
}
predict() {
  darknet regressor test "$1" "$2" black.ppm
  sed -n 's/^Predicted: //p' log | xargs printf '%.4g'
}
for variance in 1 0.0001 1e-06 0; do
  # The file's version and the images seen; then bias, scale, mean, variance, and three weights.
  perl -e 'print pack("l<3 Q< f<7", 0, 2, 0, 0, 0, 1, -0.001, $ARGV[0], 0, 0, 0)' $variance >weights
  darknet denormalize network.cfg weights folded
  stands=$(predict network.cfg weights)
  folded=$(predict folded.cfg folded)
  echo "variance $variance: as it stands $stands, folded $folded" | tee -a seen
done
cat >expected <<'TXT'
variance 1: as it stands 0.001, folded 0.001
variance 0.0001: as it stands 0.09999, folded 0.09535
variance 1e-06: as it stands 0.999, folded 0.3015
variance 0: as it stands 1000, folded 0.3162
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
