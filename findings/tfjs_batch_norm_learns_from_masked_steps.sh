#!/bin/sh
# SPDX-License-Identifier: MIT
# A batch normalisation of TensorFlow.js behind a Masking layer says that it supports masks and passes
# the mask on, and counts the masked steps among its minibatch all the same: the padding of short
# sequences is in the mean and the variance that it normalises with and that it keeps. Keras 3 leaves
# masked steps out. Of 2, 4 and one step of padding the mean is 2 instead of 3, the variance 2.67
# instead of 1, and with longer padding both go on changing.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  tfjs-layers/src/layers/normalization.ts, class BatchNormalization: supportsMasking is true
#          and call() does not read kwargs['mask']. Keras 3, BatchNormalization.call has a mask.
#
# Output seen, for momentum 0, so that what is kept is the minibatch:
#
#   supports masking: true
#   2 4: mean 3, variance 1
#   2 4 and 1 masked: mean 2, variance 2.6667
#   2 4 and 4 masked: mean 1, variance 2.3333
#   as stated
#
#   findings/tfjs_batch_norm_learns_from_masked_steps.sh
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
let supports;
const learn = async (steps) => {
  const input = tf.input({shape: [steps.length, 1]});
  const masked = tf.layers.masking({maskValue: 0}).apply(input);
  const norm = tf.layers.batchNormalization({momentum: 0});
  const model = tf.model({inputs: input, outputs: norm.apply(masked)});
  model.compile({loss: 'meanSquaredError', optimizer: tf.train.sgd(0)});
  const x = tf.tensor(steps, [1, steps.length, 1]);
  await model.fit(x, x, {epochs: 1, verbose: 0});
  supports = norm.supportsMasking;
  const [mean, variance] = norm.getWeights().slice(2).map((each) => each.dataSync()[0]);
  const rounded = (value) => Math.round(value * 1e4) / 1e4;
  return `mean ${rounded(mean)}, variance ${rounded(variance)}`;
};
const seen = [
  `2 4: ${await learn([2, 4])}`,
  `2 4 and 1 masked: ${await learn([2, 4, 0])}`,
  `2 4 and 4 masked: ${await learn([2, 4, 0, 0, 0, 0])}`,
];
console.log(`supports masking: ${supports}`);
seen.forEach((line) => console.log(line));
const same = supports === true && seen.join('; ') === '2 4: mean 3, variance 1; ' +
  '2 4 and 1 masked: mean 2, variance 2.6667; 2 4 and 4 masked: mean 1, variance 2.3333';
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
