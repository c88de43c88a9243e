#!/bin/sh
# SPDX-License-Identifier: MIT
# jsfive, a reader of HDF5 in JavaScript, gives undefined where a dataset has no storage. HDF5 does
# not store what has not been written, such as the rest of a dataset that was extended: it has the
# dataset's fill value, 0 by default, and the C library returns that. jsfive makes an array with holes
# of it, whose length is right; the sum of such statistics is not a number, and a typed array made of
# it has NaN in the holes.
#
# Version: npm jsfive 0.4.2; the file is written with h5wasm 0.10.3, the C library in WebAssembly.
# Source:  HDF5 file format specification, IV.A.2.f, fill value message; what jsfive does is seen
#          here.
#
# Output seen, for two numbers written and the dataset extended to four:
#
#   h5wasm: 5 6 0 0
#   jsfive: 5 6 undefined undefined, as Float32Array 5 6 NaN NaN
#   as stated
#
#   findings/jsfive_leaves_out_the_fill_value.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Installs both packages into a temporary folder; needs node and npm.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for program in node npm; do
  command -v "$program" >/dev/null || { echo "not tried: no $program"; exit 2; }
done
npm install --ignore-scripts --no-audit --no-fund --silent jsfive@0.4.2 h5wasm@0.10.3 \
  >/dev/null 2>&1 || { echo 'not tried: no jsfive 0.4.2 or h5wasm 0.10.3'; exit 2; }

cat >run.mjs <<'JS'
import h5wasm from 'h5wasm/node';
import {File} from 'jsfive';
import {readFileSync} from 'fs';

await h5wasm.ready;
const name = 'moving_mean';
const written = new h5wasm.File('weights.h5', 'w');
written.create_dataset({name, data: Float32Array.from([5, 6]), shape: [2], maxshape: [4],
  chunks: [2]});
written.get(name).resize([4]);
written.close();

const library = [...new h5wasm.File('weights.h5', 'r').get(name).value].join(' ');
const bytes = new Uint8Array(readFileSync('weights.h5'));
const values = new File(bytes.buffer, 'weights.h5').get(name).value;
const each = Array.from(values, String).join(' ');
const typed = Float32Array.from(values).join(' ');
console.log(`h5wasm: ${library}`);
console.log(`jsfive: ${each}, as Float32Array ${typed}`);
const same = library === '5 6 0 0' && each === '5 6 undefined undefined' && typed === '5 6 NaN NaN';
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs
