// SPDX-License-Identifier: MIT
// Every number that the module gives has the bits of the native program, for several seeds.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { native, paths } from "./page.mjs";

const seeds = [1, 2, 77];
const cameras = [
  [1, 0, 0],
  [0.3, 0.2, 0],
  [0.5, 0.4, 0.1],
];
const questions = [
  ["test_accuracy"],
  ["beta"],
  ["folded"],
  ["picture", 5],
  ["company", 0],
  ["company", 3, 1, 4, 1, 5],
  ["whole_set_means", 7],
  ["minibatch_means", 7, 0, 200],
  ["refused", 0],
  ...[0, 1, 2].flatMap((stop) =>
    [
      [0, 0.1],
      [1, 0.99],
      [2, 0.99],
      [3, 0],
      [4, 0],
    ].map((rule) => ["estimate", stop, ...rule]),
  ),
  ...[0.9, 0.99, 0.999].flatMap((keep) =>
    [1, 2].map((kind) => ["running_means", 7, kind, keep, 0, 200]),
  ),
  ...[0.01, 0.1, 0.5, 0.9, 0.99].map((weight) => ["accuracy", 0, weight]),
  ...cameras.flatMap((camera) =>
    [
      [-1, 60, 0],
      [0, 1, 0],
      [16, 4, 0],
      [0, 60, 0],
      [16, 20, 1],
    ].map((how) => ["changed_world", ...camera, ...how]),
  ),
  ...cameras.map((camera) => ["changed_picture", ...camera, 2]),
  ...[1, 100, 1e4, 1e6].map((offset) => ["offset_variance", offset, 20]),
];

function load() {
  const module = new WebAssembly.Module(readFileSync(paths.wasm));
  const system = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (system[from] ??= {})[name] = () => 0;
  }
  const lab = new WebAssembly.Instance(module, system).exports;
  lab._initialize();
  return lab;
}

function ask(lab, [name, ...numbers]) {
  const letters = new TextEncoder().encode(name);
  const at = lab.web_name(letters.length);
  new Uint8Array(lab.memory.buffer, at, letters.length).set(letters);
  const to = lab.web_arguments(numbers.length);
  new Float64Array(lab.memory.buffer, to, numbers.length).set(numbers);
  const stack = lab.stackSave();
  try {
    const count = lab.web_ask();
    return Array.from(new Float64Array(lab.memory.buffer, lab.web_result(), count));
  } catch {
    lab.stackRestore(stack);
    const bytes = new Uint8Array(lab.memory.buffer, lab.web_message());
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }
}

// The debiased rule divides by 1 - d^k, which the two C libraries round in their own ways.
const isDebiased = ([name, ...numbers]) =>
  (name === "running_means" && numbers[1] === 2) || (name === "estimate" && numbers[1] === 2);

for (const seed of seeds) {
  test(`the numbers of seed ${seed} are those of the native program`, () => {
    const lab = load();
    lab.web_start(seed);
    assert.equal(lab.web_train(10000), 0);
    const expected = native(seed, questions);
    questions.forEach((question, k) => {
      const given = ask(lab, question);
      assert.ok(given.length > 0 && given.length === expected[k].length, question.join(" "));
      if (isDebiased(question)) {
        given.forEach((value, i) =>
          assert.equal(value.toPrecision(9), expected[k][i].toPrecision(9), question.join(" ")),
        );
      } else {
        assert.deepStrictEqual(given, expected[k], question.join(" "));
      }
    });
  });
}
