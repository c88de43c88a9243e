// SPDX-License-Identifier: MIT
// Runs the C++: loads the module, trains the network, and answers questions about it.

import type { FromWorker, ToWorker } from "./messages";

interface Lab {
  memory: WebAssembly.Memory;
  _initialize(): void;
  stackSave(): number;
  stackRestore(stack: number): void;
  web_arguments(count: number): number;
  web_name(length: number): number;
  web_start(seed: number): void;
  web_start_with_digits(seed: number): void;
  web_train(minibatches: number): number;
  web_ask(): number;
  web_result(): number;
  web_message(): number;
}

const minibatchesAtOnce = 40;
const say = (message: FromWorker): void =>
  (self as unknown as { postMessage(message: FromWorker): void }).postMessage(message);

let loaded: Promise<Lab> | null = null;

/** The module imports files and the end of the program from its system: there is none here. */
async function load(wasm: ArrayBuffer): Promise<Lab> {
  const module = await WebAssembly.compile(wasm);
  const system: Record<string, Record<string, () => number>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (system[from] ??= {})[name] = () => 0;
  }
  const lab = (await WebAssembly.instantiate(module, system)).exports as unknown as Lab;
  lab._initialize();
  return lab;
}

function writeArguments(lab: Lab, numbers: number[]): void {
  const at = lab.web_arguments(numbers.length);
  new Float64Array(lab.memory.buffer, at, numbers.length).set(numbers);
}

/** The text of the last refusal. */
function messageOf(lab: Lab): string {
  const bytes = new Uint8Array(lab.memory.buffer, lab.web_message());
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

function ask(lab: Lab, question: string, numbers: number[]): number[] {
  const name = new TextEncoder().encode(question);
  const at = lab.web_name(name.length);
  new Uint8Array(lab.memory.buffer, at, name.length).set(name);
  writeArguments(lab, numbers);
  const count = lab.web_ask();
  if (count < 0) throw new Error(`no question ${question}`);
  return Array.from(new Float64Array(lab.memory.buffer, lab.web_result(), count));
}

function start(lab: Lab, seed: number, digits: number[] | null): void {
  const begin = performance.now();
  if (digits === null) {
    lab.web_start(seed);
  } else {
    writeArguments(lab, digits);
    lab.web_start_with_digits(seed);
  }
  const total = lab.web_train(0);
  for (let left = total; left > 0;) {
    left = lab.web_train(minibatchesAtOnce);
    say({ kind: "progress", left, total });
  }
  say({ kind: "trained", milliseconds: performance.now() - begin });
}

/** A refused call ends in a trap, and leaves its frames on the stack of the module. */
function answer(lab: Lab, id: number, question: string, numbers: number[]): void {
  const stack = lab.stackSave();
  try {
    say({ kind: "answer", id, numbers: ask(lab, question, numbers) });
  } catch (error) {
    if (!(error instanceof WebAssembly.RuntimeError)) throw error;
    lab.stackRestore(stack);
    say({ kind: "refused", id, message: messageOf(lab) || String(error) });
  }
}

addEventListener("message", (event: MessageEvent<ToWorker>) => {
  const message = event.data;
  if (message.kind === "load") loaded = load(message.wasm);
  loaded
    ?.then((lab) => {
      if (message.kind === "start") start(lab, message.seed, message.digits);
      if (message.kind === "ask") answer(lab, message.id, message.question, message.numbers);
    })
    .catch((error: unknown) => say({ kind: "broken", message: String(error) }));
});
