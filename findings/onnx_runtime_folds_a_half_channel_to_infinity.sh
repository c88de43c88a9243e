#!/bin/sh
# SPDX-License-Identifier: MIT
# ONNX Runtime folds a batch normalisation into the convolution before it, and the new bias, bias -
# mean scale / sqrt(variance + epsilon), is stored in the model's type. A channel that never varied
# has a variance of 0, a gain of 316 for the usual epsilon, and the bias of a mean of 250 is -79057,
# beyond the largest half of 65504: in a model of halves it becomes -Infinity, and so does every
# output of that channel. The model as it stands answers 0, the value at the mean.
#
# Version: npm onnxruntime-node 1.30.0, processor (CPU) provider.
# Source:  onnxruntime/core/optimizer/conv_bn_fusion.cc of microsoft/onnxruntime: the new tensors
#          have the type of the old ones.
#
# Output seen, for x = 250, 250.25, weight 1, scale 1, bias 0, mean 250, variance 0, epsilon 1e-5:
#
#   disabled: 0 79.0625
#   basic: -Infinity -Infinity
#   all: -Infinity -Infinity
#   as stated
#
#   findings/onnx_runtime_folds_a_half_channel_to_infinity.sh
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
# The package has the library for processors; its script would fetch others.
npm install --ignore-scripts --no-audit --no-fund --silent onnxruntime-node@1.30.0 >/dev/null 2>&1 ||
  { echo 'not tried: no onnxruntime-node 1.30.0'; exit 2; }

cat >run.mjs <<'JS'
import ort from 'onnxruntime-node';

// ---- halves, of which only zero, normal numbers and infinities are needed

const half = (value) => {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(value));
  return ((exponent + 15) << 10) | ((value / 2 ** exponent - 1) * 1024);
};
const number = (bits) => {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
};
const halves = (values) => Uint16Array.from(values.map(half));

// ---- a model of two nodes, in the encoding of protobuf

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >> 7)]);
const field = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const text = (number, value) => field(number, [...Buffer.from(value)]);
const whole = (number, value) => [...varint(number * 8), ...varint(value)];
const dimension = (n) => field(1, whole(1, n));
const type = 10;
const value = (name, shape) => [
  ...text(1, name),
  ...field(2, field(1, [...whole(1, type), ...field(2, shape.flatMap(dimension))])),
];
const tensor = (name, shape, only) => [
  ...shape.flatMap((n) => whole(1, n)), ...whole(2, type), ...text(8, name),
  ...field(9, [...Buffer.from(halves([only]).buffer)]),
];
const node = (type, inputs, output) =>
  [...inputs.flatMap((name) => text(1, name)), ...text(2, output), ...text(4, type)];
const nodes = [node('Conv', ['x', 'weight'], 'product'),
  node('BatchNormalization', ['product', 'scale', 'bias', 'mean', 'variance'], 'y')];
const constants = [tensor('weight', [1, 1, 1, 1], 1), tensor('scale', [1], 1),
  tensor('bias', [1], 0), tensor('mean', [1], 250), tensor('variance', [1], 0)];
const graph = [...nodes.flatMap((each) => field(1, each)), ...text(2, 'graph'),
  ...constants.flatMap((each) => field(5, each)), ...field(11, value('x', [1, 1, 1, 2])),
  ...field(12, value('y', [1, 1, 1, 2]))];
const model = Uint8Array.from([...whole(1, 8), ...field(7, graph), ...field(8, whole(2, 15))]);

// ---- three levels

const expected = {disabled: '0 79.0625', basic: '-Infinity -Infinity', all: '-Infinity -Infinity'};
let same = true;
for (const level of Object.keys(expected)) {
  const session = await ort.InferenceSession.create(model, {graphOptimizationLevel: level});
  const x = new ort.Tensor('float16', halves([250, 250.25]), [1, 1, 1, 2]);
  const {y} = await session.run({x});
  const seen = [...new Uint16Array(y.data.buffer, y.data.byteOffset, 2)].map(number).join(' ');
  console.log(`${level}: ${seen}`);
  same = same && seen === expected[level];
}
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs
