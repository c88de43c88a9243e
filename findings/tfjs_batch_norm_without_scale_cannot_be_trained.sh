#!/bin/sh
# SPDX-License-Identifier: MIT
# A batch normalisation of TensorFlow.js with scale: false, which its documentation suggests before a
# linear layer or a ReLU, or with center: false, is built, compiled and predicts, and ends fit() with
# a TypeError: inference asks whether there is a gamma and a beta, training reads both. A model that
# has such a layer can be loaded and run, and cannot be fine-tuned.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  tfjs-layers/src/layers/normalization.ts, BatchNormalization.call: this.gamma.read() and
#          this.beta.read() in training. Documentation of scale: before a linear layer, or a ReLU, it
#          can be disabled.
#
# Output seen, for x = 1, 3 and epsilon 0:
#
#   scale and center: predicts 1 3; fit ends
#   scale only: predicts 1 3; fit throws TypeError
#   center only: predicts 1 3; fit throws TypeError
#   as stated
#
#   findings/tfjs_batch_norm_without_scale_cannot_be_trained.sh
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
const x = tf.tensor2d([[1], [3]]);
const attempt = async (options) => {
  const norm = tf.layers.batchNormalization({inputShape: [1], epsilon: 0, ...options});
  const model = tf.sequential({layers: [norm]});
  model.compile({loss: 'meanSquaredError', optimizer: tf.train.sgd(0.1)});
  const predicted = [...model.predict(x).dataSync()].join(' ');
  const end = await model.fit(x, x, {epochs: 1, verbose: 0})
    .then(() => 'fit ends', (error) => `fit throws ${error.name}`);
  return `predicts ${predicted}; ${end}`;
};
const seen = [
  `scale and center: ${await attempt({})}`,
  `scale only: ${await attempt({center: false})}`,
  `center only: ${await attempt({scale: false})}`,
];
seen.forEach((line) => console.log(line));
const same = seen.join('\n') === `scale and center: predicts 1 3; fit ends
scale only: predicts 1 3; fit throws TypeError
center only: predicts 1 3; fit throws TypeError`;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
