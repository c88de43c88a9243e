#!/bin/sh
# SPDX-License-Identifier: MIT
# OpenCV's instance normalisation, read from an ONNX model, applies scale and bias to the first image
# of a minibatch only: the second comes out normalised and no more. The importer makes it two layers,
# normalise (MVN) and then scale and shift (BatchNorm), and the network fuses them by default; the
# fused layer looks its scale up by the number of the row, images times channels, and takes 1 and 0
# for every row beyond the channels. With enableFusion(false) all images are right.
#
# Version: OpenCV 4.6.0, Debian 12 (bookworm), packages libopencv-dnn-dev and libopencv-dnn406
#          4.6.0+dfsg-12.
# Source:  modules/dnn/src/layers/mvn_layer.cpp of opencv/opencv, MVNLayerImpl::forward; ONNX,
#          Operators.md, InstanceNormalization-6: y = scale * (x - mean) / sqrt(variance + epsilon) +
#          B for each instance and channel.
#
# Output seen, for scale 2, bias 5, epsilon 1e-5 and two images of the pixels 1 and 3:
#
#   as usual: 3 7 -1 1
#   without fusion: 3 7 3 7
#   as stated
#
#   findings/opencv_instance_norm_scales_the_first_image_only.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages and what they depend on are unpacked in a temporary
# folder (275 MB). Needs apt-get and dpkg of Debian 12 and g++.
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
  -o Dir::Cache::archives="$folder/archives" libopencv-dnn-dev=4.6.0+dfsg-12 >/dev/null ||
  cannot_try "libopencv-dnn-dev cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6* | */linux-libc-dev_* | */libgcc-s1_* | */libstdc++6_*) ;; # the compiler's are here
    *) dpkg -x "$file" unpacked ;;
  esac
done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >program.cpp <<'CPP'
#include <cstdio>
#include <cstring>
#include <opencv2/dnn.hpp>
#include <string>
#include <vector>

using std::string;

// ---- a model of one node, in the encoding of protobuf

string varint(unsigned long n) {
  return n < 128 ? string(1, char(n)) : char((n & 127) | 128) + varint(n >> 7);
}
string field(int number, const string& bytes) {
  return varint(number * 8 + 2) + varint(bytes.size()) + bytes;
}
string whole(int number, unsigned long value) { return varint(number * 8) + varint(value); }
string bytes_of(float value) {
  string bytes(sizeof value, '\0');
  std::memcpy(&bytes[0], &value, sizeof value);
  return bytes;
}
string tensor(const string& name, float value) {
  return field(5, whole(1, 1) + whole(2, 1) + field(8, name) + field(9, bytes_of(value)));
}
string value(const string& name) {
  string shape;
  for (const int size : {2, 1, 1, 2}) shape += field(1, whole(1, size));
  return field(1, name) + field(2, field(1, whole(1, 1) + field(2, shape)));
}
string model() {
  const string epsilon =
      field(1, "epsilon") + varint(2 * 8 + 5) + bytes_of(1e-5f) + whole(20, 1);
  const string node = field(1, "x") + field(1, "scale") + field(1, "bias") + field(2, "y") +
                      field(4, "InstanceNormalization") + field(5, epsilon);
  const string graph = field(1, node) + field(2, "graph") + tensor("scale", 2) +
                       tensor("bias", 5) + field(11, value("x")) + field(12, value("y"));
  return whole(1, 7) + field(7, graph) + field(8, whole(2, 13));
}

int main() {
  const string bytes = model();
  for (const bool fused : {true, false}) {
    cv::dnn::Net network = cv::dnn::readNetFromONNX(bytes.data(), bytes.size());
    if (!fused) network.enableFusion(false);
    std::vector<float> x{1, 3, 1, 3};
    network.setInput(cv::Mat(std::vector<int>{2, 1, 1, 2}, CV_32F, x.data()));
    const cv::Mat out = network.forward();
    const float* y = out.ptr<float>();
    std::printf("%s: %.4g %.4g %.4g %.4g\n", fused ? "as usual" : "without fusion", y[0], y[1],
                y[2], y[3]);
  }
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -isystem unpacked/usr/include/opencv4 program.cpp \
  -o program -L "$(dirname "$(find unpacked -name libopencv_dnn.so)")" -lopencv_dnn -lopencv_core \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"
LD_LIBRARY_PATH="$libraries" ./program | tee seen
cat >expected <<'TXT'
as usual: 3 7 -1 1
without fusion: 3 7 3 7
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
