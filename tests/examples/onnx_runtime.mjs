// SPDX-License-Identifier: MIT
// node onnx_runtime.mjs FOLDER NODE_MODULES
// Runs in ONNX Runtime what onnx_pairs wrote to FOLDER, and compares. Optimisation is off: the default
// level folds norms itself, and gives wrong outputs for MatMul over Reshape or Transpose.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, modules] = process.argv.slice(2);
const ort = createRequire(join(modules, 'x.js'))('onnxruntime-node');
const level = { graphOptimizationLevel: 'disabled', logSeverityLevel: 4 };
let failures = 0;

const fail = (text) => { failures++; console.log(`FAILED ${text}`); };
const json = (...parts) => JSON.parse(readFileSync(join(...parts), 'utf8'));
const firstLine = (error) => String(error.message).split('\n')[0].slice(0, 160);

// Uniform in [-1, 1), the same everywhere.
function numbers(count) {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2147483648 - 1;
  });
}

const tensor = (shape) =>
  new ort.Tensor('float32', numbers(shape.reduce((a, b) => a * b, 1)), shape);

async function run(path, feeds) {
  const session = await ort.InferenceSession.create(path, level);
  const given = {};
  for (const meta of session.inputMetadata) {
    if (feeds) { given[meta.name] = feeds; continue; }
    // An axis that nobody knows: one example, and enough places for a few kernels.
    const shape = (meta.shape ?? []).map((n, axis) =>
      typeof n === 'number' && n > 0 ? n : axis === 0 ? 1 : 32);
    if (meta.type !== 'float32') throw new Error(`an input of ${meta.type}`);
    given[meta.name] = tensor(shape);
  }
  const outputs = await session.run(given);
  await session.release();
  return outputs;
}

// The largest difference as a share of what is allowed at a place.
function worst(a, b, allowed) {
  if (a.length !== b.length) return Infinity;
  let share = 0;
  for (let i = 0; i < a.length; ++i) {
    if (Object.is(a[i], b[i]) || a[i] === b[i]) continue;
    const now = Math.abs(a[i] - b[i]) / allowed(i);
    if (!(now <= share)) share = Number.isNaN(now) ? Infinity : now;
  }
  return share;
}

async function checkFold(where, fold, path) {
  const spatial = Math.max(8, ...fold.kernel.slice(2));
  const shape = [2, fold.inputs, ...Array(fold.rank - 2).fill(spatial)];
  const x = tensor(shape);
  const before = Object.values(await run(join(where, `${fold.file}_before.onnx`), x))[0];
  const after = Object.values(await run(join(where, `${fold.file}_after.onnx`), x))[0];
  const channels = fold.gains.length;
  const places = before.dims.slice(2).reduce((a, b) => a * b, 1);
  // The certificate, and what float sums of as many terms round on either side.
  const ulps = fold.bound + 2 * Math.sqrt(fold.terms) + 8;
  const unit = (i) => {
    const channel = Math.floor(i / places) % channels;
    return 2 ** -23 * (fold.gains[channel] + fold.rest[channel]);
  };
  const share = worst(before.data, after.data, (i) => ulps * unit(i));
  if (!(share <= 1)) fail(`${path}: ${fold.norm} into ${fold.layer}: ${share * ulps} of ${ulps} ulp`);
  return share * ulps;
}

async function checkNorm(where, norm, path) {
  const x = new ort.Tensor('float32', Float32Array.from(norm.x), [1, norm.channels, 3]);
  const y = Object.values(await run(join(where, `${norm.file}.onnx`), x))[0].data;
  const share = worst(y, norm.y, (i) => norm.tolerance[Math.floor(i / 3)]);
  if (!(share <= 1)) fail(`${path}: ${norm.norm}: ${share} times what is allowed`);
  return share;
}

async function checkModel(where) {
  const facts = json(where, 'facts.json');
  let norms = 0, folds = 0;
  for (const norm of facts.norms) norms = Math.max(norms, await checkNorm(where, norm, facts.path));
  for (const fold of facts.folds) {
    if (fold.dtype !== 'F32') continue;
    folds = Math.max(folds, await checkFold(where, fold, facts.path));
  }
  let whole = 'unchanged';
  if (facts.folded > 0) {
    let original = null;
    try {
      original = await run(join(where, 'original.onnx'));
    } catch (error) {
      whole = `left out, ONNX Runtime does not run the original: ${firstLine(error)}`;
    }
    if (original) {
      const folded = await run(join(where, 'folded.onnx'));
      let share = 0;
      for (const [name, value] of Object.entries(original)) {
        const largest = value.data.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
        share = Math.max(share, worst(value.data, folded[name].data, () => largest));
      }
      whole = `outputs differ by ${share.toExponential(1)} of the largest`;
      if (!(share <= 1e-4)) fail(`${facts.path}: ${whole}`);
    }
  }
  console.log(`${facts.path}: ${facts.norms.length} norms (${norms.toFixed(2)} of the tolerance), ` +
    `${facts.folded} folds (largest ${folds.toFixed(2)} ulp), ${facts.left} left; ${whole}`);
}

async function checkDigits(where) {
  const facts = json(where, 'digits.json');
  const count = facts.images.length;
  const images = new ort.Tensor('float32', Float32Array.from(facts.images.flat()), [count, 64]);
  const logits = (await run(join(where, 'net.onnx'), images)).logits.data;
  let same = 0;
  for (let i = 0; i < count; ++i) {
    const row = Array.from(logits.slice(10 * i, 10 * i + 10));
    same += row.indexOf(Math.max(...row)) === facts.predictions[i] ? 1 : 0;
  }
  console.log(`digits: ${same} of ${count} predictions are the same`);
  if (same !== count) fail('digits');
}

for (const name of readdirSync(folder).sort()) {
  const where = join(folder, name);
  try {
    if (existsSync(join(where, 'facts.json'))) await checkModel(where);
    if (existsSync(join(where, 'digits.json'))) await checkDigits(where);
  } catch (error) {
    fail(`${where}: ${firstLine(error)}`);
  }
}
console.log(failures === 0 ? 'all well' : `${failures} failures`);
process.exitCode = failures === 0 ? 0 : 1;
