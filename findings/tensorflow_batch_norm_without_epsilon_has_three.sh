#!/bin/sh
# SPDX-License-Identifier: MIT
# A FusedBatchNorm whose epsilon is left out of the graph, as TensorFlow does with attributes that
# have their default when it is asked to strip them, has an epsilon of 1e-4: that is the operator's
# default. TensorFlow.js reads the same node with 1e-3, and OpenCV with 1e-5: a channel of little
# variance comes out ten times as large from one reader as from the other, and neither is right. With
# epsilon in the node they agree.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu; OpenCV 4.6.0, Debian 12 (bookworm), package
#          libopencv-dnn-dev 4.6.0+dfsg-12.
# Source:  TensorFlow, tf.raw_ops.FusedBatchNorm: epsilon=0.0001. tfjs-converter/src/operations/
#          op_list/normalization.ts: defaultValue 0.001. modules/dnn/src/layers/batch_norm_layer.cpp of
#          opencv/opencv: eps 1E-5.
#
# Output seen, for x = 1, mean 0, variance 0, gamma 1 and beta 0, where y = 1 / sqrt(epsilon):
#
#   epsilon 1e-4 in the node: TensorFlow.js 100, OpenCV 100
#   epsilon left out: TensorFlow.js 31.62, OpenCV 316.2
#   as stated
#
#   findings/tensorflow_batch_norm_without_epsilon_has_three.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages and what they depend on go into a temporary folder
# (550 MB). Needs apt-get and dpkg of Debian 12, g++, node and npm.
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
npm install --ignore-scripts --no-audit --no-fund --silent @tensorflow/tfjs@4.22.0 >/dev/null 2>&1 ||
  cannot_try 'no @tensorflow/tfjs 4.22.0'
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

# Writes the graph for OpenCV, and prints what TensorFlow.js makes of it.
cat >run.mjs <<'JS'
import tf from '@tensorflow/tfjs';
import {writeFileSync} from 'fs';

const [, , file, epsilon] = process.argv;
const parameters = {gamma: 1, beta: 0, mean: 0, variance: 0};
const inputs = ['x', ...Object.keys(parameters)];

// ---- in the encoding of protobuf

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >> 7)]);
const field = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const text = (number, value) => field(number, [...Buffer.from(value)]);
const whole = (number, value) => [...varint(number * 8), ...varint(value)];
const bytes = (value) => [...Buffer.from(Float32Array.from([value]).buffer)];
const attribute = (name, value) => field(5, [...text(1, name), ...field(2, value)]);
const node = (name, op, inputs, attributes) => field(1, [...text(1, name), ...text(2, op),
  ...inputs.flatMap((input) => text(3, input)), ...attributes]);
const constant = ([name, value]) => {
  const tensor = [...whole(1, 1), ...field(2, field(2, whole(1, 1))), ...field(4, bytes(value))];
  return node(name, 'Const', [],
    [...attribute('dtype', whole(6, 1)), ...attribute('value', field(8, tensor))]);
};
const given = epsilon ? attribute('epsilon', [...varint(4 * 8 + 5), ...bytes(epsilon)]) : [];
writeFileSync(file, Uint8Array.from([
  ...node('x', 'Placeholder', [], attribute('dtype', whole(6, 1))),
  ...Object.entries(parameters).flatMap(constant),
  ...node('y', 'FusedBatchNorm', inputs,
    [...attribute('T', whole(6, 1)), ...attribute('is_training', whole(5, 0)), ...given]),
]));

// ---- in JSON

const type = {type: 'DT_FLOAT'};
const dim = (sizes) => ({dim: sizes.map((size) => ({size: String(size)}))});
const names = Object.keys(parameters);
const tensor = {dtype: 'DT_FLOAT', tensorShape: dim([1])};
const model = await tf.loadGraphModel(tf.io.fromMemory({
  format: 'graph-model',
  modelTopology: {versions: {producer: 0}, node: [
    {name: 'x', op: 'Placeholder', attr: {dtype: type, shape: {shape: dim([1, 1, 1, 1])}}},
    ...names.map((name) => ({name, op: 'Const', attr: {dtype: type, value: {tensor}}})),
    {name: 'y', op: 'FusedBatchNorm', input: inputs, attr: {T: type, is_training: {b: false},
      ...(epsilon ? {epsilon: {f: Number(epsilon)}} : {})}},
  ]},
  weightSpecs: names.map((name) => ({name, shape: [1], dtype: 'float32'})),
  weightData: Float32Array.from(Object.values(parameters)).buffer,
}));
const y = model.predict(tf.ones([1, 1, 1, 1])).dataSync()[0];
console.log(Number(y.toPrecision(4)));
JS
cat >program.cpp <<'CPP'
#include <cstdio>
#include <opencv2/dnn.hpp>
#include <vector>

int main(int, char** arguments) {
  cv::dnn::Net network = cv::dnn::readNetFromTensorflow(arguments[1]);
  float x = 1;
  network.setInput(cv::Mat(std::vector<int>{1, 1, 1, 1}, CV_32F, &x));
  const cv::Mat y = network.forward();
  std::printf("%.4g\n", *y.ptr<float>());
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -isystem unpacked/usr/include/opencv4 program.cpp \
  -o program -L "$(dirname "$(find unpacked -name libopencv_dnn.so)")" -lopencv_dnn -lopencv_core \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"

read_by_both() {
  what=$1
  shift
  first=$(node run.mjs "$@" 2>log) || { cat log; exit 1; }
  # TensorFlow.js prints a greeting before the number.
  first=$(echo "$first" | tail -n 1)
  second=$(LD_LIBRARY_PATH="$libraries" ./program "$1")
  echo "$what: TensorFlow.js $first, OpenCV $second" | tee -a seen
}
read_by_both 'epsilon 1e-4 in the node' given.pb 1e-4
read_by_both 'epsilon left out' absent.pb
cat >expected <<'TXT'
epsilon 1e-4 in the node: TensorFlow.js 100, OpenCV 100
epsilon left out: TensorFlow.js 31.62, OpenCV 316.2
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
