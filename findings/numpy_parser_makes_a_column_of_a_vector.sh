#!/bin/sh
# SPDX-License-Identifier: MIT
# A vector of NumPy has the shape (3,). The npm package numpy-parser reads it as [3, 1], which is what it
# makes of a column (3, 1), too, so that the two can no longer be told apart. Given on to a library that
# broadcasts, such as TensorFlow.js, a mean per channel is subtracted per row: where the minibatch has as
# many rows as channels nothing is reported, and elsewhere the error is about shapes that the file does
# not have.
#
# Version: npm numpy-parser 1.2.3; @tensorflow/tfjs 4.22.0, backend cpu.
# Source:  NumPy, numpy.lib.format: the header has the shape as a Python tuple. That (3,) is read as
#          [3, 1] is seen here.
#
# Output seen, for the mean 1 2 3, subtracted from three rows of 1 2 3:
#
#   shape (3,): read as [3,1], x - mean is 0 1 2 -1 0 1 -2 -1 0
#   shape (3, 1): read as [3,1], x - mean is 0 1 2 -1 0 1 -2 -1 0
#   shape (1, 3): read as [1,3], x - mean is 0 0 0 0 0 0 0 0 0
#   as stated
#
#   findings/numpy_parser_makes_a_column_of_a_vector.sh
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
npm install --ignore-scripts --no-audit --no-fund --silent numpy-parser@1.2.3 \
  @tensorflow/tfjs@4.22.0 >/dev/null 2>&1 ||
  { echo 'not tried: no numpy-parser 1.2.3 and @tensorflow/tfjs 4.22.0'; exit 2; }

cat >run.mjs <<'JS'
import numpyParser from 'numpy-parser';
import tf from '@tensorflow/tfjs';

await tf.setBackend('cpu');
const values = [1, 2, 3];

// A file of NumPy: signature, version 1.0, length of the header, header, numbers.
const file = (shape) => {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117) + '\n';
  const bytes = Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), Buffer.alloc(2),
    Buffer.from(text), Buffer.from(Float32Array.from(values).buffer)]);
  bytes.writeUInt16LE(text.length, 8);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};

const x = tf.tensor2d([values, values, values]);
const seen = ['(3,)', '(3, 1)', '(1, 3)'].map((written) => {
  const {data, shape} = numpyParser.fromArrayBuffer(file(written));
  const difference = x.sub(tf.tensor(data, shape)).dataSync().join(' ');
  return `shape ${written}: read as ${JSON.stringify(shape)}, x - mean is ${difference}`;
});
seen.forEach((line) => console.log(line));
const same = seen.join('\n') === `shape (3,): read as [3,1], x - mean is 0 1 2 -1 0 1 -2 -1 0
shape (3, 1): read as [3,1], x - mean is 0 1 2 -1 0 1 -2 -1 0
shape (1, 3): read as [1,3], x - mean is 0 0 0 0 0 0 0 0 0`;
console.log(same ? 'as stated' : 'changed');
process.exit(same ? 0 : 1);
JS
node run.mjs 2>log || { cat log; exit 1; }
