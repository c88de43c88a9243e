#!/bin/sh
# SPDX-License-Identifier: MIT
# ONNX Runtime normalises with statistics that are given as y = x g + (B - mean g), g = scale / sqrt(
# variance + epsilon), in float: where the mean is large beside the deviation, B - mean g is rounded
# before the difference x - mean is taken, and most digits of the answer are lost. Subtracting the
# mean first, in float too, loses none of them here. Optimisation is off.
#
# Version: npm onnxruntime-node 1.30.0, processor (CPU) provider.
# Source:  what is computed is seen here; ONNX, Operators.md, BatchNormalization-15 has
#          Y = (X - input_mean) / sqrt(input_var + epsilon) * scale + B.
#
# Output seen, for x = 1000.25, mean 1000, variance 0.001, scale 1, bias 0, epsilon 1e-5:
#
#   exact 7.8664595, mean subtracted first in float 7.8664598, ONNX Runtime 7.8652344
#   as stated
#
#   findings/onnx_runtime_batch_norm_rounds_a_large_mean.sh
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

// ---- a model of one node, in the encoding of protobuf

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >> 7)]);
const field = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const text = (number, value) => field(number, [...Buffer.from(value)]);
const whole = (number, value) => [...varint(number * 8), ...varint(value)];
const dimension = (n) => field(1, whole(1, n));
const value = (name, shape) => [
  ...text(1, name),
  ...field(2, field(1, [...whole(1, 1), ...field(2, shape.flatMap(dimension))])),
];
const inputs = {x: [1, 1], scale: [1], bias: [1], mean: [1], variance: [1]};
const model = (outputs) => {
  const names = Object.keys(outputs);
  const node = [...Object.keys(inputs).flatMap((name) => text(1, name)),
    ...names.flatMap((name) => text(2, name)), ...text(4, 'BatchNormalization')];
  const graph = [...field(1, node), ...text(2, 'graph'),
    ...Object.entries(inputs).flatMap(([name, shape]) => field(11, value(name, shape))),
    ...Object.entries(outputs).flatMap(([name, shape]) => field(12, value(name, shape)))];
  return Uint8Array.from([...whole(1, 8), ...field(7, graph), ...field(8, whole(2, 15))]);
};

// ---- three answers

const numbers = {x: [1000.25], scale: [1], bias: [0], mean: [1000], variance: [0.001]};
const session = await ort.InferenceSession.create(model({y: [1, 1]}),
  {graphOptimizationLevel: 'disabled'});
const feeds = {};
for (const [name, shape] of Object.entries(inputs)) {
  feeds[name] = new ort.Tensor('float32', Float32Array.from(numbers[name]), shape);
}
const theirs = (await session.run(feeds)).y.data[0];
const f = Math.fround;
const variance = f(0.001), epsilon = f(1e-5);
const exact = 0.25 / Math.sqrt(variance + epsilon);
const first = f(f(0.25) * f(1 / f(Math.sqrt(f(variance + epsilon)))));
console.log(`exact ${exact.toFixed(7)}, mean subtracted first in float ${first.toFixed(7)}, ` +
  `ONNX Runtime ${theirs.toFixed(7)}`);
const same = Math.abs(first - exact) < 1e-6 && Math.abs(theirs - exact) > 1e-3;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs
