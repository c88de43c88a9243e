#!/bin/sh
# SPDX-License-Identifier: MIT
# A BatchNormalization of opset 9, of which ONNX says that its four optional outputs are for
# training, is run as training by ONNX Runtime as soon as the node names them, whatever the session
# is for: the input is normalised with its own statistics, and those that were given are averaged
# with them. The fifth output, saved_var, is no variance: it is 1 / sqrt(variance + epsilon).
#
# Version: npm onnxruntime-node 1.30.0, processor (CPU) provider.
# Source:  ONNX, Operators.md, BatchNormalization-9: "saved_var: saved variance used during training
#          to speed up gradient computation".
#
# Output seen, for x = 1, 2 with mean 1, variance 4, scale 1, bias 0, epsilon 1e-5, momentum 0.9:
#
#   one output:   0 0.5
#   five outputs: -0.99998 0.99998; mean 1.05, variance 3.625; saved mean 1.5, saved variance 1.99996
#   as stated
#
#   findings/onnx_runtime_trains_batch_norm_that_names_five_outputs.sh
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
const inputs = {x: [2, 1], scale: [1], bias: [1], mean: [1], variance: [1]};
const model = (outputs) => {
  const names = Object.keys(outputs);
  const node = [...Object.keys(inputs).flatMap((name) => text(1, name)),
    ...names.flatMap((name) => text(2, name)), ...text(4, 'BatchNormalization')];
  const graph = [...field(1, node), ...text(2, 'graph'),
    ...Object.entries(inputs).flatMap(([name, shape]) => field(11, value(name, shape))),
    ...Object.entries(outputs).flatMap(([name, shape]) => field(12, value(name, shape)))];
  return Uint8Array.from([...whole(1, 4), ...field(7, graph), ...field(8, whole(2, 9))]);
};

// ---- both ways

const numbers = {x: [1, 2], scale: [1], bias: [0], mean: [1], variance: [4]};
const run = async (outputs) => {
  const session = await ort.InferenceSession.create(model(outputs));
  const feeds = {};
  for (const [name, shape] of Object.entries(inputs)) {
    feeds[name] = new ort.Tensor('float32', Float32Array.from(numbers[name]), shape);
  }
  const results = await session.run(feeds);
  return Object.keys(outputs).flatMap((name) => [...results[name].data]);
};
const rounded = (all) => all.map((each) => Math.round(each * 1e5) / 1e5);

const one = rounded(await run({y: [2, 1]}));
const five = rounded(await run(
  {y: [2, 1], new_mean: [1], new_variance: [1], saved_mean: [1], saved_variance: [1]}));
console.log(`one output:   ${one.join(' ')}`);
console.log(`five outputs: ${five[0]} ${five[1]}; mean ${five[2]}, variance ${five[3]}; ` +
  `saved mean ${five[4]}, saved variance ${five[5]}`);
const expected = [-0.99998, 0.99998, 1.05, 3.625, 1.5, 1.99996];
const same = one[0] === 0 && one[1] === 0.5 &&
  five.every((each, i) => Math.abs(each - expected[i]) < 2e-5);
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs
