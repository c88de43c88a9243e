// SPDX-License-Identifier: MIT
// Task 7: the layer disappears; and the formula that loses the variance.

import { slider } from "../controls";
import { h, p } from "../dom";
import type { Lab } from "../lab";
import { predict, type Task } from "../predict";

const values = 20;
const askedPower = 4;
const powers = ["1", "10", "100", "1000", "10⁴", "10⁵", "10⁶"];

async function seeFold(lab: Lab, place: HTMLElement): Promise<{ right: number; because: string }> {
  const [difference = 0, other = 0, before = 0, after = 0] = await lab.ask("folded");
  const images = (await lab.ask("test_accuracy"))[1] ?? 1;
  const box = (words: string, kind = ""): HTMLElement => h("span", { class: `box ${kind}` }, words);
  place.append(
    h(
      "div",
      { class: "layers" },
      box("dense 64 → 32"),
      box("batch norm", "gone"),
      box("ReLU"),
      box("dense 32 → 10"),
    ),
    h(
      "div",
      { class: "layers" },
      box("dense 64 → 32, with a bias"),
      box("ReLU"),
      box("dense 32 → 10"),
    ),
    h(
      "table",
      {},
      h("caption", {}, "Before and after fold_after"),
      h(
        "tbody",
        {},
        ...(
          [
            ["answers that differ", `${other} of ${images}`],
            ["largest difference of a logit", difference.toExponential(2)],
            ["numbers in the first layer and its norm", `${before} before, ${after} after`],
          ] as const
        ).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))),
      ),
    ),
  );
  return {
    right: other === 0 ? 0 : other < 0.05 * images ? 1 : 2,
    because:
      "At test time the norm is one factor and one summand per channel, and so is part of the weights and the bias in front of it. Only rounding is left.",
  };
}

async function seeOffset(
  lab: Lab,
  place: HTMLElement,
): Promise<{ right: number; because: string }> {
  const table = h("div", {});
  const offset = slider(
    {
      key: "offset",
      label: "Mean of the values",
      low: 0,
      high: 6,
      step: 1,
      otherwise: askedPower,
      shown: (value) => powers[value] ?? "",
    },
    () => void show(),
  );
  const variances = (power: number): Promise<number[]> =>
    lab.ask("offset_variance", Math.pow(10, power), values);
  async function show(): Promise<void> {
    const [naive = 0, ours = 0, exact = 0] = await variances(offset.value());
    const row = (name: string, value: number, kind = ""): HTMLElement =>
      h("tr", { class: kind }, h("th", { scope: "row" }, name), h("td", {}, value.toPrecision(6)));
    table.replaceChildren(
      h(
        "table",
        {},
        h("caption", {}, `Variance of ${values} floats around ${powers[offset.value()] ?? ""}`),
        h(
          "tbody",
          {},
          row("E[x²] − E[x]²", naive, Math.abs(naive - exact) > 0.05 * exact ? "wrong" : ""),
          row("moments_of(x), this library", ours),
          row("two passes in double", exact),
        ),
      ),
    );
  }
  place.append(offset.element, table);
  await show();
  const [naive = 0] = await variances(askedPower);
  return {
    right: naive < 0 ? 2 : Math.abs(naive - 1) < 0.3 ? 0 : 1,
    because:
      "Both squares are near 10⁸, where floats are 8 apart: the difference is made of rounding, and may be negative. The square root of that is NaN, and the layer with it. Sums about a rough mean do not cancel.",
  };
}

export function folding(lab: Lab): Task {
  return {
    title: "Folding, and a formula to avoid",
    parts: [
      p(
        "A frozen norm multiplies every channel by a number and adds another. `fold_after` puts both into the weights in front, and the layer is gone.",
      ),
      predict({
        key: "p7",
        question: "How many of the answers to the test images change?",
        answers: ["None", "A few", "Many"],
        see: (place) => seeFold(lab, place),
      }),
      p(
        "One more, about statistics themselves. Many programs compute the variance as E[x²] − E[x]², in one pass and in float.",
      ),
      predict({
        key: "p7b",
        question: "20 values with a variance of about 1 and a mean of 10 000: what comes out?",
        answers: ["1, as it should", "Between 0 and 10, but wrong", "A negative number"],
        see: (place) => seeOffset(lab, place),
      }),
    ],
  };
}
