// SPDX-License-Identifier: MIT
// The network as the page sees it: questions go to the worker, answers come back as promises.

import type { FromWorker, ToWorker } from "./messages";

declare const WASM_BASE64: string;
declare const WORKER_TEXT: string;

/** The library has refused a call; the message is its own. */
export class Refused extends Error {}

interface Waiting {
  resolve(numbers: number[]): void;
  reject(error: Error): void;
}

export class Lab {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private next = 0;
  private progress: (share: number) => void = () => {};
  private trained: { resolve(milliseconds: number): void; reject(error: Error): void } | null =
    null;

  constructor() {
    const source = URL.createObjectURL(new Blob([WORKER_TEXT], { type: "text/javascript" }));
    this.worker = new Worker(source);
    URL.revokeObjectURL(source);
    this.worker.addEventListener("message", (event: MessageEvent<FromWorker>) =>
      this.hear(event.data),
    );
    const wasm = Uint8Array.from(atob(WASM_BASE64), (character) => character.charCodeAt(0)).buffer;
    this.say({ kind: "load", wasm });
  }

  /** Draws digits, or takes these, and trains a new network; resolves to the time it took. */
  train(seed: number, digits: number[] | null, progress: (share: number) => void): Promise<number> {
    this.progress = progress;
    this.say({ kind: "start", seed, digits });
    return new Promise((resolve, reject) => (this.trained = { resolve, reject }));
  }

  ask(question: string, ...numbers: number[]): Promise<number[]> {
    const id = this.next++;
    this.say({ kind: "ask", id, question, numbers });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  private say(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  private hear(message: FromWorker): void {
    if (message.kind === "progress") {
      this.progress(1 - message.left / message.total);
    } else if (message.kind === "trained") {
      this.trained?.resolve(message.milliseconds);
    } else if (message.kind === "broken") {
      const error = new Error(message.message);
      this.trained?.reject(error);
      for (const waiting of this.waiting.values()) waiting.reject(error);
    } else {
      const waiting = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.kind === "answer") waiting?.resolve(message.numbers);
      else waiting?.reject(new Refused(message.message));
    }
  }
}
