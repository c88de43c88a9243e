// SPDX-License-Identifier: MIT
// Task 3: the running average, drawn first.

import { chart, type Curve } from "../chart";
import { slider, tick, choice } from "../controls";
import { h, p, svg } from "../dom";
import type { Lab } from "../lab";
import type { Task } from "../predict";
import * as state from "../state";

const minibatches = 200;
const handles = 9;
const keeps = [0.9, 0.99, 0.999];
const colours = ["#b3261e", "#1b5fc1", "#6b3fa0"];
const steps = 100; // of a handle, between the ends of its scale
const inset = 10; // half a handle, in pixels

const at = (handle: number): number => (handle * minibatches) / (handles - 1);

interface Data {
  channel: number;
  whole: number[];
  batches: number[];
}

/** The channel whose mean is furthest above the initial value, 0. */
async function strongestChannel(lab: Lab): Promise<number> {
  const all = await Promise.all(
    Array.from({ length: 32 }, (_, k) => lab.ask("minibatch_means", k, 150, 1)),
  );
  const sizes = all.map((means) => means[0] ?? 0);
  return sizes.indexOf(Math.max(...sizes));
}

/** Nine handles over a picture of the whole-set line: by pointer in one stroke, or one by one. */
function drawing(
  data: Data,
  changed: () => void,
): { element: HTMLElement; guess(): number[]; touched(): boolean } {
  const low = Math.min(0, ...data.whole, ...data.batches),
    high = Math.max(0, ...data.whole, ...data.batches);
  const height = (value: number): number => 100 - (100 * (value - low)) / (high - low);
  const zero = Math.round((steps * (0 - low)) / (high - low));
  const saved = state.list("guess", steps + 1);
  const guess = saved.length === handles ? saved : Array<number>(handles).fill(zero);
  let touched = saved.length === handles;

  const line = svg("polyline", { class: "guess", points: "" });
  const picture = svg(
    "svg",
    { viewBox: "0 0 200 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { class: "zero", x1: 0, x2: 200, y1: height(0), y2: height(0) }),
    svg("polyline", {
      class: "whole",
      points: data.whole.map((value, k) => `${k + 1},${height(value)}`).join(" "),
    }),
    line,
  );
  const value = (step: number): number => low + ((high - low) * step) / steps;
  const inputs = guess.map((step, k) => {
    const input = h("input", {
      type: "range",
      min: 0,
      max: steps,
      step: 1,
      class: "upright",
      "aria-label": `Running mean after ${at(k)} minibatches`,
      input: () => move(k, Number(input.value)),
    });
    input.value = String(step);
    return input;
  });
  function move(k: number, step: number): void {
    guess[k] = Math.min(steps, Math.max(0, Math.round(step)));
    const input = inputs[k];
    if (input) input.value = String(guess[k]);
    touched = true;
    state.set("guess", guess);
    show();
    changed();
  }
  function show(): void {
    line.setAttribute(
      "points",
      guess.map((step, k) => `${at(k)},${height(value(step))}`).join(" "),
    );
    inputs.forEach((input, k) =>
      input.setAttribute("aria-valuetext", value(guess[k] ?? 0).toFixed(2)),
    );
  }
  const pad = h("div", { class: "pad" }, picture, h("div", { class: "handles" }, ...inputs));
  pad.addEventListener("pointermove", (event) => {
    if (event.buttons !== 1) return;
    const box = pad.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const nearest = Math.min(handles - 1, Math.max(0, Math.floor(across * handles)));
    move(nearest, steps * (1 - (event.clientY - box.top - inset) / (box.height - 2 * inset)));
  });
  show();
  return {
    element: h(
      "div",
      {},
      pad,
      h("div", { class: "between note" }, h("span", {}, "minibatch 0"), h("span", {}, "200")),
    ),
    guess: () => guess.map(value),
    touched: () => touched,
  };
}

/** A curve through the nine handles, at every minibatch. */
const through = (guess: number[]): number[] =>
  Array.from({ length: minibatches }, (_, index) => {
    const place = ((index + 1) * (handles - 1)) / minibatches;
    const k = Math.min(Math.floor(place), handles - 2);
    return (guess[k] ?? 0) + (place - k) * ((guess[k + 1] ?? 0) - (guess[k] ?? 0));
  });

async function reveal(
  lab: Lab,
  data: Data,
  guess: () => number[],
  place: HTMLElement,
): Promise<() => void> {
  const plot = chart(
    "minibatch",
    "The running means of one channel over the first 200 minibatches, beside the mean of the whole training set",
  );
  const table = h("div", {
    class: "scroll",
    tabindex: 0,
    role: "region",
    "aria-label": "Values at the chosen minibatch",
  });
  const curves = await Promise.all(
    [1, 2].map((kind) =>
      Promise.all(
        keeps.map((keep) => lab.ask("running_means", data.channel, kind, keep, 0, minibatches)),
      ),
    ),
  );
  const update = (): void => {
    const debiased = start.value() === 1;
    const means = curves[debiased ? 1 : 0] ?? [];
    const k = scrub.value();
    const drawn: Curve[] = [
      { name: "minibatch means", colour: "#8a93a3", values: data.batches, dots: true },
      { name: "whole training set", colour: "#1f2430", values: data.whole, dash: [6, 4] },
      ...keeps.map((keep, i) => ({
        name: `keep ${keep}`,
        colour: colours[i] ?? "",
        values: means[i] ?? [],
      })),
    ];
    if (showGuess.value() === 1)
      drawn.push({
        name: "your guess",
        colour: "#8f5300",
        values: through(guess()),
        dash: [2, 3],
        width: 3,
      });
    // What is behind the chosen minibatch is not known yet.
    plot.show(
      Array.from({ length: minibatches }, (_, i) => i + 1),
      drawn.map((curve) =>
        curve.name.startsWith("your")
          ? curve
          : { ...curve, values: curve.values.map((v, i) => (i < k ? v : null)) },
      ),
    );
    const cell = (words: string): HTMLElement => h("td", {}, words);
    table.replaceChildren(
      h(
        "table",
        {},
        h(
          "caption",
          {},
          `After ${k} minibatches; whole training set: ${(data.whole[k - 1] ?? 0).toFixed(4)}`,
        ),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...["keeps", "running mean", "weight of the initial 0"].map((name) =>
              h("th", { scope: "col" }, name),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          ...keeps.map((keep, i) =>
            h(
              "tr",
              {},
              cell(String(keep)),
              cell((means[i]?.[k - 1] ?? 0).toFixed(4)),
              cell(debiased ? "0 %" : `${(100 * Math.pow(keep, k)).toFixed(1)} %`),
            ),
          ),
        ),
      ),
    );
  };
  const scrub = slider(
    { key: "k", label: "Minibatch", low: 1, high: minibatches, step: 1, otherwise: minibatches },
    update,
  );
  const start = choice("deb", "The start", ["counts", "is taken out (debiased)"], 0, update);
  const showGuess = tick("mine", "show my guess", true, update);
  place.append(plot.element, scrub.element, start.element, showGuess.element, table);
  update();
  return update;
}

async function build(lab: Lab, element: HTMLElement): Promise<void> {
  const channel = state.number("channel", -1, 0, 31);
  const data: Data = {
    channel: channel < 0 ? await strongestChannel(lab) : channel,
    whole: [],
    batches: [],
  };
  [data.whole, data.batches] = await Promise.all([
    lab.ask("whole_set_means", data.channel),
    lab.ask("minibatch_means", data.channel, 0, minibatches),
  ]);
  const seen = h("div", { class: "seen", hidden: true });
  const verdict = h("p", { class: "verdict", role: "status", "aria-live": "polite" });
  let update: (() => void) | null = null;
  const pad = drawing(data, () => update?.());
  async function compare(): Promise<void> {
    state.set("p3", 1);
    seen.hidden = false;
    const all = await lab.ask("running_means", data.channel, 1, 0.99, 0, minibatches);
    const drawn = through(pad.guess());
    const span = Math.max(...data.batches, 0) - Math.min(...data.batches, 0);
    const off =
      drawn.reduce((sum, value, k) => sum + Math.abs(value - (all[k] ?? 0)), 0) /
      minibatches /
      span;
    verdict.replaceChildren(
      h("strong", {}, off < 0.08 ? "Well drawn. " : "Look at the start. "),
      `The average starts at 0 and forgets it slowly: after 100 minibatches 0 still has a weight of ${(100 * Math.pow(0.99, 100)).toFixed(0)} %, after 200 of ${(100 * Math.pow(0.99, 200)).toFixed(0)} %. Taking the start out (debiasing) cures exactly that.`,
    );
    verdict.className = off < 0.08 ? "verdict hit" : "verdict miss";
    update ??= await reveal(lab, data, pad.guess, seen);
    update();
  }
  element.append(
    p("Draw, or move the nine handles with the arrow keys."),
    pad.element,
    h(
      "div",
      { class: "answers" },
      h(
        "button",
        { type: "button", id: "compare", click: () => void compare() },
        "Compare with what happened",
      ),
    ),
    verdict,
    seen,
  );
  if (state.number("p3", 0, 0, 1) === 1) await compare();
}

export function running(lab: Lab): Task {
  const element = h(
    "div",
    { class: "predict" },
    h("p", { class: "question" }, "Draw the running mean over the first 200 minibatches."),
  );
  void build(lab, element);
  return {
    title: "The running average",
    parts: [
      p(
        "`freeze()` needs one mean per channel. It is averaged during training: at every minibatch the average keeps 0.99 of itself and takes 0.01 of the new mean. It starts at 0. The dashed line is the mean over the whole training set, under the weights of the moment.",
      ),
      element,
    ],
  };
}
