#!/bin/sh
# SPDX-License-Identifier: MIT
# TensorFlow.js runs a FusedBatchNorm of a graph as if the channels were the last dimension, whatever
# the node's data_format is. A graph of NCHW, as GPUs are trained with, gets the scale, shift and
# statistics of one channel after another along the width: of two channels scaled by 1 and 10, every
# second pixel of both is scaled by 10. Nothing is reported, not even where the width is no multiple of
# the number of channels. The convolutions of the same graph do look at data_format.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu; @tensorflow/tfjs-backend-wasm 4.22.0 does the same.
# Source:  tfjs-converter/src/operations/op_list/normalization.ts reads data_format into dataFormat,
#          and executors/normalization_executor.ts does not use it. TensorFlow,
#          tf.raw_ops.FusedBatchNormV3: data_format is that of x and y.
#
# Output seen, for ones, gamma 1 and 10, beta 0, mean 0, variance 1 and epsilon 0:
#
#   NHWC, 1 x 1 x 2 x 2: 1 10 1 10, right 1 10 1 10
#   NCHW, 1 x 2 x 1 x 2: 1 10 1 10, right 1 1 10 10
#   NCHW, 1 x 2 x 1 x 3: 1 10 1 10 1 10, right 1 1 1 10 10 10
#   as stated
#
#   findings/tfjs_graph_batch_norm_takes_channels_first_for_last.sh
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
npm install --ignore-scripts --no-audit --no-fund --silent @tensorflow/tfjs@4.22.0 >/dev/null 2>&1 ||
  { echo 'not tried: no @tensorflow/tfjs 4.22.0'; exit 2; }

cat >run.mjs <<'JS'
import tf from '@tensorflow/tfjs';

await tf.setBackend('cpu');
const parameters = {gamma: [1, 10], beta: [0, 0], mean: [0, 0], variance: [1, 1]};
const names = Object.keys(parameters);
const type = {type: 'DT_FLOAT'};
const dim = (sizes) => ({dim: sizes.map((size) => ({size: String(size)}))});
const constant = {dtype: type, value: {tensor: {dtype: 'DT_FLOAT', tensorShape: dim([2])}}};

const load = (format, shape) => tf.loadGraphModel(tf.io.fromMemory({
  format: 'graph-model',
  modelTopology: {versions: {producer: 0}, node: [
    {name: 'x', op: 'Placeholder', attr: {dtype: type, shape: {shape: dim(shape)}}},
    ...names.map((name) => ({name, op: 'Const', attr: constant})),
    {name: 'y', op: 'FusedBatchNormV3', input: ['x', ...names], attr: {T: type,
      is_training: {b: false}, epsilon: {f: 0}, data_format: {s: btoa(format)}}},
  ]},
  weightSpecs: names.map((name) => ({name, shape: [2], dtype: 'float32'})),
  weightData: Float32Array.from(Object.values(parameters).flat()).buffer,
}));

const seen = [];
for (const [format, shape, right] of [
  ['NHWC', [1, 1, 2, 2], '1 10 1 10'],
  ['NCHW', [1, 2, 1, 2], '1 1 10 10'],
  ['NCHW', [1, 2, 1, 3], '1 1 1 10 10 10'],
]) {
  const y = (await load(format, shape)).predict(tf.ones(shape)).dataSync();
  seen.push(`${format}, ${shape.join(' x ')}: ${y.join(' ')}, right ${right}`);
}
seen.forEach((line) => console.log(line));
const same = seen.join('\n') === `NHWC, 1 x 1 x 2 x 2: 1 10 1 10, right 1 10 1 10
NCHW, 1 x 2 x 1 x 2: 1 10 1 10, right 1 1 10 10
NCHW, 1 x 2 x 1 x 3: 1 10 1 10 1 10, right 1 1 1 10 10 10`;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
