#!/bin/sh
# SPDX-License-Identifier: MIT
# A batch normalisation inside a TimeDistributed layer of TensorFlow.js is called once per time step:
# in training every step is normalised with its own statistics, and these are averaged into the moving
# ones step after step, so that the last steps weigh most. Keras 2 makes one long batch of all steps
# when the size of the batch is open, as it is here, and gets what it gets without the wrapper. In
# inference all steps have the same statistics, so that a difference between steps that training never
# let through arrives in the next layer.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  tfjs-layers/src/layers/wrappers.ts, TimeDistributed.call: its porting note says that rnn() is
#          used always. Keras 2, TimeDistributed.call: only if the size of the batch is fixed, else the
#          input is reshaped.
#
# Output seen, for two sequences, 1 101 and 3 103, with epsilon 0 and momentum 0.5:
#
#   alone: training -1.02 0.9798 -0.9798 1.02, then mean 26, variance 1251
#   in TimeDistributed: training -1 -1 1 1, then mean 51.5, variance 1
#   as stated
#
#   findings/tfjs_time_distributed_batch_norm_takes_the_steps_apart.sh
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
const options = {epsilon: 0, momentum: 0.5};
const layers = {
  'alone': tf.layers.batchNormalization({...options, inputShape: [2, 1]}),
  'in TimeDistributed': tf.layers.timeDistributed(
    {layer: tf.layers.batchNormalization(options), inputShape: [2, 1]}),
};
const sequences = tf.tensor3d([[[1], [101]], [[3], [103]]]);
const text = (numbers) => [...numbers].map((each) => Number(each.toPrecision(4))).join(' ');

const seen = Object.entries(layers).map(([name, layer]) => {
  const model = tf.sequential({layers: [layer]});
  const y = model.apply(sequences, {training: true}).dataSync();
  const [mean, variance] = model.getWeights().slice(2).map((each) => text(each.dataSync()));
  return `${name}: training ${text(y)}, then mean ${mean}, variance ${variance}`;
});
seen.forEach((line) => console.log(line));
const same = seen.join('\n') ===
  `alone: training -1.02 0.9798 -0.9798 1.02, then mean 26, variance 1251
in TimeDistributed: training -1 -1 1 1, then mean 51.5, variance 1`;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
