#!/bin/sh
# SPDX-License-Identifier: MIT
# A FusedBatchNorm with is_training = true in a TensorFlow graph is normalised with the statistics of
# its minibatch, and epsilon is added to their variance. OpenCV's importer makes it two layers. The
# first subtracts the mean and divides by the deviation of each image alone, with an epsilon of its
# own, 1e-9; the second adds the node's epsilon to a variance of 1. So images lose what sets them
# apart, and where the variance is small beside epsilon the output is too large by any factor, for one
# image too. Nothing is reported.
#
# Version: OpenCV 4.6.0, Debian 12 (bookworm), packages libopencv-dnn-dev and libopencv-dnn406
#          4.6.0+dfsg-12.
# Source:  modules/dnn/src/tensorflow/tf_importer.cpp of opencv/opencv, parseFusedBatchNorm: an MVN
#          layer in front, mean 0 and variance 1 behind it. TensorFlow, FusedBatchNorm: mean and
#          variance are those of the minibatch when is_training.
#
# Output seen, with gamma 1, beta 0 and epsilon 1e-3, for images of two pixels:
#
#   one image, 1 1.02: -0.9995 0.9995, right -0.3015 0.3015
#   two images, 1 3 and 101 103: -0.9995 0.9995 -0.9995 0.9995, right -1.02 -0.9798 0.9798 1.02
#   as stated
#
#   findings/opencv_reads_training_batch_norm_of_tensorflow_image_by_image.sh
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
#include <cmath>
#include <cstdio>
#include <cstring>
#include <opencv2/dnn.hpp>
#include <string>
#include <vector>

namespace {

using std::string;
const float epsilon = 1e-3f;

// ---- a graph of one FusedBatchNorm, in the encoding of protobuf

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
string real(int number, float value) { return varint(number * 8 + 5) + bytes_of(value); }
string attribute(const string& name, const string& value) {
  return field(5, field(1, name) + field(2, value));
}
const string of_floats = whole(6, 1);

string node(const string& name, const string& op, const std::vector<string>& inputs,
            const string& attributes) {
  string bytes = field(1, name) + field(2, op);
  for (const string& input : inputs) bytes += field(3, input);
  return field(1, bytes + attributes);
}
string constant(const string& name, float value) {
  const string tensor = whole(1, 1) + field(2, field(2, whole(1, 1))) + field(4, bytes_of(value));
  return node(name, "Const", {},
              attribute("dtype", of_floats) + attribute("value", field(8, tensor)));
}
string graph() {
  return node("x", "Placeholder", {}, attribute("dtype", of_floats)) + constant("gamma", 1) +
         constant("beta", 0) + constant("mean", 0) + constant("variance", 0) +
         node("y", "FusedBatchNorm", {"x", "gamma", "beta", "mean", "variance"},
              attribute("T", of_floats) + attribute("epsilon", real(4, epsilon)) +
                  attribute("is_training", whole(5, 1)));
}

// ---- both answers

void print(const std::vector<float>& values) {
  for (const float value : values) std::printf(" %.4g", value);
}

std::vector<float> right(std::vector<float> x) {
  double mean = 0, variance = 0;
  for (const float value : x) mean += value / double(x.size());
  for (const float value : x) variance += (value - mean) * (value - mean) / double(x.size());
  for (float& value : x) value = float((value - mean) / std::sqrt(variance + epsilon));
  return x;
}

void compare(const char* what, std::vector<float> x) {
  const string bytes = graph();
  cv::dnn::Net network = cv::dnn::readNetFromTensorflow(bytes.data(), bytes.size());
  network.enableFusion(false);  // which has a surprise of its own for the second image
  network.setInput(cv::Mat(std::vector<int>{int(x.size()) / 2, 1, 1, 2}, CV_32F, x.data()));
  const cv::Mat y = network.forward();
  std::printf("%s:", what);
  print(std::vector<float>(y.ptr<float>(), y.ptr<float>() + y.total()));
  std::printf(", right");
  print(right(x));
  std::printf("\n");
}

}  // namespace

int main() {
  compare("one image, 1 1.02", {1, 1.02f});
  compare("two images, 1 3 and 101 103", {1, 3, 101, 103});
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -isystem unpacked/usr/include/opencv4 program.cpp \
  -o program -L "$(dirname "$(find unpacked -name libopencv_dnn.so)")" -lopencv_dnn -lopencv_core \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"
LD_LIBRARY_PATH="$libraries" ./program | tee seen
cat >expected <<'TXT'
one image, 1 1.02: -0.9995 0.9995, right -0.3015 0.3015
two images, 1 3 and 101 103: -0.9995 0.9995 -0.9995 0.9995, right -1.02 -0.9798 0.9798 1.02
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
