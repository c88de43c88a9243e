// SPDX-License-Identifier: MIT
// What the page and its worker say to each other.

export type ToWorker =
  | { kind: "load"; wasm: ArrayBuffer }
  | { kind: "start"; seed: number; digits: number[] | null }
  | { kind: "ask"; id: number; question: string; numbers: number[] };

export type FromWorker =
  | { kind: "progress"; left: number; total: number }
  | { kind: "trained"; milliseconds: number }
  | { kind: "answer"; id: number; numbers: number[] }
  | { kind: "refused"; id: number; message: string }
  | { kind: "broken"; message: string };
