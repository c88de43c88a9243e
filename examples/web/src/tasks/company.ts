// SPDX-License-Identifier: MIT
// Task 1: one picture, alone and in company.

import { bitsOf, drawDigit, drawProbabilities, likeliest } from "../digits";
import { h, p } from "../dom";
import type { Lab } from "../lab";
import { predict, type Task } from "../predict";
import * as state from "../state";

const channels = 32;
const classes = 10;
const offered = 12; // pictures beside the first one

interface Side {
  element: HTMLElement;
  show(outputs: number[], probabilities: number[]): number;
}

/** What one way to normalise makes of the picture; remembers the bits of the last time. */
function side(title: string): Side {
  const place = h("div", {});
  let last: string[] = [];
  return {
    element: h("div", { class: "side" }, h("h3", {}, title), place),
    show(outputs, probabilities) {
      const bits = outputs.map(bitsOf);
      const changed = bits.map((word, k) => last.length > 0 && word !== last[k]);
      const count = changed.filter(Boolean).length;
      place.replaceChildren(
        p(`reads ${likeliest(probabilities)}`, "reads"),
        drawProbabilities(probabilities, `Probabilities, ${title}`),
        h(
          "p",
          { class: "note" },
          `Bits of the 32 outputs of the layer; ${count} of 32 have changed:`,
        ),
        h(
          "div",
          { class: "bits" },
          ...bits.map((word, k) => h("span", { class: changed[k] ? "changed" : "" }, word)),
        ),
      );
      last = bits;
      return count;
    },
  };
}

/** Test pictures, from the first on that the network reads correctly in freeze() but not alone. */
async function choosePictures(lab: Lab): Promise<number[]> {
  let first = 0;
  for (; first < 40; ++first) {
    const [numbers, picture] = await Promise.all([
      lab.ask("company", first),
      lab.ask("picture", first),
    ]);
    const digit = picture[64];
    const half = channels + classes;
    const read = (from: number): number => likeliest(numbers.slice(from + channels, from + half));
    if (read(half) === digit && read(0) !== digit) break;
  }
  return Array.from({ length: offered + 1 }, (_, k) => first + k);
}

async function see(lab: Lab, place: HTMLElement): Promise<{ right: number; because: string }> {
  let companions = state.list("with", offered + 1).filter((k) => k > 0);
  const chosen = await choosePictures(lab);
  const pictures = await Promise.all(chosen.map((picture) => lab.ask("picture", picture)));
  const draw = (k: number): Node =>
    drawDigit(pictures[k] ?? [], `a handwritten ${pictures[k]?.[64] ?? ""}`);
  const own = side("Statistics of this minibatch");
  const frozen = side("freeze()");
  const batch = h("div", { class: "minibatch", "aria-label": "The minibatch", role: "group" });
  const status = h("p", { class: "note", role: "status" });
  const history: string[] = [];
  const past = h("p", { class: "note" });

  const tray = h("div", {
    class: "tray",
    role: "group",
    "aria-label": "Pictures to put into the minibatch",
  });
  const buttons = Array.from({ length: offered }, (_, index) => {
    const k = index + 1;
    return h(
      "button",
      {
        type: "button",
        draggable: "true",
        "aria-label": `Companion ${k}, a ${pictures[k]?.[64] ?? ""}`,
        click: () => void toggle(k),
        dragstart: (event) => (event as DragEvent).dataTransfer?.setData("text/plain", String(k)),
      },
      draw(k),
    );
  });
  tray.append(...buttons);
  batch.addEventListener("dragover", (event) => event.preventDefault());
  batch.addEventListener("drop", (event) => {
    event.preventDefault();
    const k = Number(event.dataTransfer?.getData("text/plain"));
    if (Number.isInteger(k) && k >= 1 && k <= offered && !companions.includes(k)) void toggle(k);
  });

  async function toggle(k: number): Promise<void> {
    companions = companions.includes(k)
      ? companions.filter((other) => other !== k)
      : [...companions, k];
    state.set("with", companions);
    await show();
  }
  async function show(): Promise<void> {
    buttons.forEach((button, index) =>
      button.setAttribute("aria-pressed", String(companions.includes(index + 1))),
    );
    batch.replaceChildren(
      h("span", { class: "first" }, draw(0)),
      ...companions.map((k) => draw(k)),
    );
    const numbers = await lab.ask("company", ...[0, ...companions].map((k) => chosen[k] ?? 0));
    const half = channels + classes;
    const a = own.show(numbers.slice(0, channels), numbers.slice(channels, half));
    const b = frozen.show(numbers.slice(half, half + channels), numbers.slice(half + channels));
    const size = companions.length === 0 ? "alone" : `a minibatch of ${companions.length + 1}`;
    history.push(
      `${companions.length === 0 ? "alone" : `of ${companions.length + 1}`}: ${likeliest(numbers.slice(channels, half))}`,
    );
    past.textContent = `Read so far with statistics of the minibatch: ${history.slice(-12).join(", ")}. With freeze(): ${likeliest(numbers.slice(half + channels))}.`;
    status.textContent = `The first picture, ${size}: ${a} of 32 outputs have changed, and ${b} with freeze().`;
  }

  place.append(
    p(
      "Drag pictures into the minibatch, or press them, and press again to take them out. Watch the first one.",
    ),
    batch,
    tray,
    status,
    past,
    h("div", { class: "sides" }, own.element, frozen.element),
    p(
      "Alone, the left side has nothing to compare with: task 2 looks at that. `freeze()` uses the running statistics, so it cannot see the company.",
      "note",
    ),
  );
  await show();
  return {
    right: 2,
    because:
      "Mean and variance of the minibatch are part of the result, so every companion changes it, and with few of them the digit too. At test time nobody should depend on strangers.",
  };
}

export function company(lab: Lab): Task {
  return {
    title: "A picture in company",
    parts: [
      p(
        "The layer subtracts a mean and divides by a deviation. While the network trains, both come from the minibatch at hand. Suppose that somebody forgot to switch that off.",
      ),
      predict({
        key: "p1",
        question:
          "The same picture is read with different companions in its minibatch. Does its answer depend on them?",
        answers: [
          "No, it is the same picture",
          "In the last digits only",
          "Yes, even the digit may change",
        ],
        see: (place) => see(lab, place),
      }),
    ],
  };
}
