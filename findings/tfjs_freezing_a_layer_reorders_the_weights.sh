#!/bin/sh
# SPDX-License-Identifier: MIT
# model.getWeights() of TensorFlow.js is a list without names: first what is trained, of all layers,
# then what is not. Freezing a layer moves its gamma and beta behind those of the layers after it. So
# two models of the same layers, one with its first layer frozen, do not take each other's weights:
# setWeights() finds tensors of the right shapes and gives the first batch normalisation the scale and
# shift of the second, without a word. Keras lists layer by layer, whether frozen or not.
#
# Version: npm @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  tfjs-layers/src/engine/container.ts, get weights(): trainableWeights, then
#          nonTrainableWeights; documentation of setWeights(): the list "should match the output of
#          `getWeights`".
#
# Output seen, for two batch normalisations of mean 0, variance 1 and epsilon 0, the first with gamma
# 2 and beta 0, the second with gamma 1 and beta 5, and x = 3:
#
#   first/gamma first/beta second/gamma second/beta: 11
#   second/gamma second/beta first/gamma first/beta: 16
#   as stated
#
#   findings/tfjs_freezing_a_layer_reorders_the_weights.sh
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
const make = () => tf.sequential({layers: [
  tf.layers.batchNormalization({inputShape: [1], name: 'first', epsilon: 0}),
  tf.layers.batchNormalization({name: 'second', epsilon: 0}),
]});
const numbers = (list) => list.map((each) => tf.tensor1d([each]));
const trained = make();
trained.layers[0].setWeights(numbers([2, 0, 0, 1]));
trained.layers[1].setWeights(numbers([1, 5, 0, 1]));
const finetuned = make();
finetuned.layers[0].trainable = false;
finetuned.setWeights(trained.getWeights());

const seen = [trained, finetuned].map((model) => {
  const names = model.weights.slice(0, 4).map((each) => each.originalName).join(' ');
  return `${names}: ${model.predict(tf.tensor2d([[3]])).dataSync()[0]}`;
});
seen.forEach((line) => console.log(line));
const same = seen[0] === 'first/gamma first/beta second/gamma second/beta: 11' &&
  seen[1] === 'second/gamma second/beta first/gamma first/beta: 16';
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
