#!/bin/sh
# SPDX-License-Identifier: MIT
# ONNX Runtime folds a batch normalisation into the matrix product before it, whatever Reshape and
# Transpose stand between the two: their axes are not looked at. Where the channels are no longer the
# columns of the product, and there are as many of them, the columns are scaled instead of the
# channels, in silence. Here the second channel should be ten times the first; what comes out is the
# transpose of that. It happens from the level 'basic' on, and the usual level is 'all'.
#
# Version: npm onnxruntime-node 1.30.0, processor (CPU) provider.
# Source:  onnxruntime/core/optimizer/matmul_bn_fusion.cc of microsoft/onnxruntime: ignorable_nodes
#          are Reshape and Transpose; of the channels only their number is compared with the weights.
#          ONNX, Operators.md, BatchNormalization-15: the channels are the second dimension.
#
# Output seen, for a 2 x 2 matrix of ones times the identity, scale 1 and 10, bias 0, mean 0,
# variance 1:
#
#   transposed, as it stands: 1 10 1 10; optimised: 1 1 10 10
#   reshaped to 1 x 2 x 2, as it stands: 1 1 10 10; optimised: 1 10 1 10
#   nothing in between, as it stands: 1 10 1 10; optimised: 1 10 1 10
#   as stated
#
#   findings/onnx_runtime_folds_batch_norm_over_a_transpose.sh
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

// ---- a model in the encoding of protobuf

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >> 7)]);
const field = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const text = (number, value) => field(number, [...Buffer.from(value)]);
const whole = (number, value) => [...varint(number * 8), ...varint(value)];
const dimension = (n) => field(1, whole(1, n));
const value = (name, shape) => [
  ...text(1, name),
  ...field(2, field(1, [...whole(1, 1), ...field(2, shape.flatMap(dimension))])),
];
const tensor = (name, shape, type, numbers) => [
  ...shape.flatMap((n) => whole(1, n)), ...whole(2, type), ...text(8, name),
  ...field(9, [...Buffer.from(numbers.buffer)]),
];
const floats = (name, shape, numbers) => tensor(name, shape, 1, Float32Array.from(numbers));
const node = (type, inputs, output, attributes = []) => [
  ...inputs.flatMap((name) => text(1, name)), ...text(2, output), ...text(4, type), ...attributes,
];
const permutation = (axes) =>
  field(5, [...text(1, 'perm'), ...axes.flatMap((axis) => whole(8, axis)), ...whole(20, 7)]);
const constants = [
  floats('weights', [2, 2], [1, 0, 0, 1]), floats('scale', [2], [1, 10]),
  floats('bias', [2], [0, 0]), floats('mean', [2], [0, 0]), floats('variance', [2], [1, 1]),
];
const three = tensor('shape', [3], 7, BigInt64Array.from([1n, 2n, 2n]));
// The product, what stands between, and the normalisation of its output.
const model = (between, shape, more = []) => {
  const nodes = [node('MatMul', ['x', 'weights'], 'product'), ...between,
    node('BatchNormalization', [between.length ? 'between' : 'product', 'scale', 'bias', 'mean',
      'variance'], 'y')];
  const graph = [...nodes.flatMap((each) => field(1, each)), ...text(2, 'graph'),
    ...[...constants, ...more].flatMap((each) => field(5, each)), ...field(11, value('x', [2, 2])),
    ...field(12, value('y', shape))];
  return Uint8Array.from([...whole(1, 8), ...field(7, graph), ...field(8, whole(2, 15))]);
};

// ---- as it stands and optimised

const run = async (bytes, options) => {
  const session = await ort.InferenceSession.create(bytes, options);
  const ones = new ort.Tensor('float32', Float32Array.from([1, 1, 1, 1]), [2, 2]);
  const {y} = await session.run({x: ones});
  return [...y.data].map((each) => Math.round(each * 1000) / 1000).join(' ');
};
const models = {
  'transposed': model([node('Transpose', ['product'], 'between', permutation([1, 0]))], [2, 2]),
  'reshaped to 1 x 2 x 2': model([node('Reshape', ['product', 'shape'], 'between')], [1, 2, 2],
    [three]),
  'nothing in between': model([], [2, 2]),
};
const expected = {
  'transposed': ['1 10 1 10', '1 1 10 10'],
  'reshaped to 1 x 2 x 2': ['1 1 10 10', '1 10 1 10'],
  'nothing in between': ['1 10 1 10', '1 10 1 10'],
};
let same = true;
for (const [name, bytes] of Object.entries(models)) {
  const stands = await run(bytes, {graphOptimizationLevel: 'disabled'});
  const optimised = await run(bytes, {});
  console.log(`${name}, as it stands: ${stands}; optimised: ${optimised}`);
  same = same && stands === expected[name][0] && optimised === expected[name][1];
}
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs
