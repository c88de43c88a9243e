#!/bin/sh
# SPDX-License-Identifier: MIT
# A FusedBatchNorm of a graph with is_training = true is normalised with the statistics of its
# minibatch. TensorFlow.js does not read the attribute and always takes the mean and the variance of the
# node's inputs. TensorFlow writes empty ones into graphs that train: the cpu backend makes every output
# of that NaN, the wasm backend makes it Infinity, and with statistics given, as exponential_avg_factor
# allows, it is the answer of an inference. Nothing is reported.
#
# Version: npm @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm 4.22.0.
# Source:  tfjs-converter/src/operations/op_list/normalization.ts: is_training is not among the
#          attributes. TensorFlow, tf.raw_ops.FusedBatchNormV3: is_training is true by default, and the
#          two inputs are for inference only and empty for training.
#
# Output seen, for x = 10, 12, 14, 16 of mean 13 and variance 5, gamma 1, beta 0 and epsilon 0:
#
#   cpu, mean and variance empty: NaN NaN NaN NaN, right -1.342 -0.4472 0.4472 1.342
#   cpu, mean 0 and variance 1: 10 12 14 16, right -1.342 -0.4472 0.4472 1.342
#   wasm, mean and variance empty: Infinity Infinity Infinity Infinity, right -1.342 -0.4472 0.4472 1.342
#   wasm, mean 0 and variance 1: 10 12 14 16, right -1.342 -0.4472 0.4472 1.342
#   as stated
#
#   findings/tfjs_graph_batch_norm_infers_where_it_is_to_train.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Installs the packages into a temporary folder; needs node and npm.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for program in node npm; do
  command -v "$program" >/dev/null || { echo "not tried: no $program"; exit 2; }
done
npm install --ignore-scripts --no-audit --no-fund --silent @tensorflow/tfjs@4.22.0 \
  @tensorflow/tfjs-backend-wasm@4.22.0 >/dev/null 2>&1 ||
  { echo 'not tried: no @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm 4.22.0'; exit 2; }

cat >run.mjs <<'JS'
import tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

const type = {type: 'DT_FLOAT'};
const dim = (sizes) => ({dim: sizes.map((size) => ({size: String(size)}))});
const load = (parameters) => {
  const names = Object.keys(parameters);
  const specs = names.map((name) => ({name, shape: [parameters[name].length], dtype: 'float32'}));
  return tf.loadGraphModel(tf.io.fromMemory({
    format: 'graph-model',
    modelTopology: {versions: {producer: 0}, node: [
      {name: 'x', op: 'Placeholder', attr: {dtype: type, shape: {shape: dim([4, 1, 1, 1])}}},
      ...specs.map(({name, shape}) => ({name, op: 'Const', attr: {dtype: type,
        value: {tensor: {dtype: 'DT_FLOAT', tensorShape: dim(shape)}}}})),
      {name: 'y', op: 'FusedBatchNormV3', input: ['x', ...names],
        attr: {T: type, is_training: {b: true}, epsilon: {f: 0}}},
    ]},
    weightSpecs: specs,
    weightData: Float32Array.from(Object.values(parameters).flat()).buffer,
  }));
};

const values = [10, 12, 14, 16];
const text = (numbers) => [...numbers].map((each) => Number(each.toPrecision(4))).join(' ');
const right = text(values.map((value) => (value - 13) / Math.sqrt(5)));
const given = {
  'mean and variance empty': {mean: [], variance: []},
  'mean 0 and variance 1': {mean: [0], variance: [1]},
};
const seen = [];
for (const backend of ['cpu', 'wasm']) {
  await tf.setBackend(backend);
  for (const [name, statistics] of Object.entries(given)) {
    const model = await load({gamma: [1], beta: [0], ...statistics});
    const y = model.predict(tf.tensor(values, [4, 1, 1, 1])).dataSync();
    seen.push(`${backend}, ${name}: ${text(y)}, right ${right}`);
  }
}
seen.forEach((line) => console.log(line));
const same = seen.join('\n') === `cpu, mean and variance empty: NaN NaN NaN NaN, right ${right}
cpu, mean 0 and variance 1: 10 12 14 16, right ${right}
wasm, mean and variance empty: Infinity Infinity Infinity Infinity, right ${right}
wasm, mean 0 and variance 1: 10 12 14 16, right ${right}`;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
