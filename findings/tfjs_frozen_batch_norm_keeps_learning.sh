#!/bin/sh
# SPDX-License-Identifier: MIT
# In TensorFlow.js a batch normalisation with trainable = false, which its documentation describes as
# one whose weights fit() does not update, is trained with the rest of the model: it normalises with
# the statistics of the minibatch, and the minibatch is averaged into its own. In Keras since
# TensorFlow 2 such a layer infers, so that a network that is fine-tuned in the browser loses the
# statistics that it would have kept there. Only gamma and beta are frozen.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  tfjs-layers/src/layers/normalization.ts, BatchNormalization.call: whether the layer is
#          trainable is not asked. tfjs-layers/src/engine/topology.ts, LayerArgs.trainable: "Whether
#          the weights of this layer are updatable by `fit`." Keras, documentation of
#          BatchNormalization: a frozen layer runs in inference mode.
#
# Output seen, for 10, 12, 14, 16 of mean 13 and variance 5, and momentum 0.5:
#
#   trainable is false
#   before fit: gamma 1, beta 0, mean 0, variance 1
#   after fit: gamma 1, beta 0, mean 6.5, variance 3
#   as stated
#
#   findings/tfjs_frozen_batch_norm_keeps_learning.sh
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
const frozen = tf.layers.batchNormalization({inputShape: [1], momentum: 0.5, trainable: false});
const model = tf.sequential({layers: [frozen, tf.layers.dense({units: 1})]});
model.compile({loss: 'meanSquaredError', optimizer: tf.train.sgd(0.01)});

const names = ['gamma', 'beta', 'mean', 'variance'];
const state = () =>
  frozen.getWeights().map((each, i) => `${names[i]} ${each.dataSync()[0]}`).join(', ');
const before = state();
await model.fit(tf.tensor2d([[10], [12], [14], [16]]), tf.tensor2d([[1], [2], [3], [4]]),
  {epochs: 1, batchSize: 4, verbose: 0});
const after = state();

console.log(`trainable is ${frozen.trainable}`);
console.log(`before fit: ${before}`);
console.log(`after fit: ${after}`);
const same = frozen.trainable === false && before === 'gamma 1, beta 0, mean 0, variance 1' &&
  after === 'gamma 1, beta 0, mean 6.5, variance 3';
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
