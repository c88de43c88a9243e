#!/bin/sh
# SPDX-License-Identifier: MIT
# Darknet adds 1e-6 to the deviation: its batch normalisation is (x - mean) / (sqrt(variance) + 1e-6).
# OpenCV, which reads Darknet's networks, adds the same 1e-6 to the variance. The two agree to 1e-6 where
# the variance is about 1. A channel that did not vary, which training leaves with a variance of 0 or
# next to it, is a thousand times louder in Darknet: its gain is 1e6 there and 1e3 here.
#
# Version: Darknet, Debian 12 (bookworm), package darknet 0.0.0+git20180914.61c9d02e-2+b4; OpenCV 4.6.0,
#          package libopencv-dnn-dev 4.6.0+dfsg-12.
# Source:  src/blas.c of pjreddie/darknet, normalize_cpu. modules/dnn/src/darknet/darknet_io.cpp of
#          opencv/opencv, setBatchNorm: eps is 1E-6; batch_norm_layer.cpp adds it to the variance.
#
# Output seen, to four digits, for x = 0, mean -0.001, scale 1 and bias 0:
#
#   variance 1: Darknet 0.001, OpenCV 0.001
#   variance 1e-06: Darknet 0.999, OpenCV 0.7071
#   variance 1e-12: Darknet 500, OpenCV 1
#   variance 0: Darknet 1000, OpenCV 1
#   as stated
#
#   findings/opencv_reads_darknet_batch_norm_with_another_epsilon.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages and what they depend on are unpacked in a temporary
# folder (655 MB). Needs apt-get and dpkg of Debian 12, g++ and perl.
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
  -o Dir::Cache::archives="$folder/archives" libopencv-dnn-dev=4.6.0+dfsg-12 \
  darknet=0.0.0+git20180914.61c9d02e-2+b4 >/dev/null || cannot_try "the packages cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6* | */linux-libc-dev_* | */libgcc-s1_* | */libstdc++6_*) ;; # the compiler's are here
    *) dpkg -x "$file" unpacked ;;
  esac
done
rm -r archives
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >network.cfg <<'TXT'
[net]
batch=1
subdivisions=1
height=4
width=4
channels=3

[convolutional]
batch_normalize=1
filters=1
size=1
stride=1
pad=0
activation=linear
TXT
# Black, so that the convolution's output is 0.
perl -e 'print "P6\n4 4\n255\n", "\0" x 48' >black.ppm
cat >program.cpp <<'CPP'
#include <cstdio>
#include <opencv2/dnn.hpp>
#include <vector>

int main(int, char** arguments) {
  cv::dnn::Net network = cv::dnn::readNetFromDarknet(arguments[1], arguments[2]);
  std::vector<float> black(48, 0);
  network.setInput(cv::Mat(std::vector<int>{1, 3, 4, 4}, CV_32F, black.data()));
  const cv::Mat y = network.forward();
  std::printf("%.4g\n", *y.ptr<float>());
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -isystem unpacked/usr/include/opencv4 program.cpp \
  -o program -L "$(dirname "$(find unpacked -name libopencv_dnn.so)")" -lopencv_dnn -lopencv_core \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"

for variance in 1 1e-06 1e-12 0; do
  # The file's version and the images seen; then bias, scale, mean, variance, and three weights.
  perl -e 'print pack("l<3 Q< f<7", 0, 2, 0, 0, 0, 1, -0.001, $ARGV[0], 0, 0, 0)' $variance >weights
  LD_LIBRARY_PATH="$libraries" unpacked/usr/bin/darknet regressor test network.cfg weights black.ppm \
    >log 2>&1 || { cat log; exit 1; }
  first=$(sed -n 's/^Predicted: //p' log | xargs printf '%.4g')
  second=$(LD_LIBRARY_PATH="$libraries" ./program network.cfg weights)
  echo "variance $variance: Darknet $first, OpenCV $second" | tee -a seen
done
cat >expected <<'TXT'
variance 1: Darknet 0.001, OpenCV 0.001
variance 1e-06: Darknet 0.999, OpenCV 0.7071
variance 1e-12: Darknet 500, OpenCV 1
variance 0: Darknet 1000, OpenCV 1
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
