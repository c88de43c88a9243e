// SPDX-License-Identifier: MIT
// Task 4: five ways to estimate the statistics of test time.

import { choice } from "../controls";
import { h, p } from "../dom";
import type { Lab } from "../lab";
import { predict, type Task } from "../predict";

const stops = [20, 100, 1000];
const estimates: [name: string, whose: string, kind: number, weight: number][] = [
  ["take 0.1", "PyTorch", 0, 0.1],
  ["keep 0.99", "Keras, Flax", 1, 0.99],
  ["keep 0.99, debiased", "Haiku", 2, 0.99],
  ["plain average of all", "the paper", 3, 0],
  ["whole set, re-estimated", "a second pass", 4, 0],
];

async function see(lab: Lab, place: HTMLElement): Promise<{ right: number; because: string }> {
  const images = (await lab.ask("test_accuracy"))[1] ?? 1;
  const answers = await Promise.all(
    stops.map((_, stop) =>
      Promise.all(estimates.map(([, , kind, weight]) => lab.ask("estimate", stop, kind, weight))),
    ),
  );
  const spread = (stop: number): number => {
    const right = (answers[stop] ?? []).map((numbers) => numbers[1] ?? 0);
    return (100 * (Math.max(...right) - Math.min(...right))) / images;
  };
  const table = h("div", {
    class: "scroll",
    tabindex: 0,
    role: "region",
    "aria-label": "Test accuracy of five estimates",
  });
  const stop = choice(
    "stop",
    "Training stops after",
    stops.map((n) => `${n}`),
    2,
    () => show(),
  );
  function show(): void {
    const rows = (answers[stop.value()] ?? []).map(([off = 0, right = 0], k) => {
      const meter = h("span", { class: "meter" });
      meter.style.setProperty("--share", String(right / images));
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, estimates[k]?.[0] ?? "", h("small", {}, estimates[k]?.[1] ?? "")),
        h("td", {}, off < 0.0005 ? "0" : off.toFixed(3)),
        h("td", { class: "wide" }, meter, `${right} of ${images}`),
      );
    });
    table.replaceChildren(
      h(
        "table",
        {},
        h(
          "caption",
          {},
          `After ${stops[stop.value()] ?? 0} minibatches; best and worst are ${spread(stop.value()).toFixed(1)} % apart`,
        ),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...["estimate", "means off by (deviations)", "test images read"].map((name) =>
              h("th", { scope: "col" }, name),
            ),
          ),
        ),
        h("tbody", {}, ...rows),
      ),
    );
  }
  place.append(stop.element, table);
  show();
  const last = spread(2);
  return {
    right: last < 3 ? 0 : last < 12 ? 1 : 2,
    because: `After 1000 minibatches they are ${last.toFixed(1)} % apart, after 20 it was ${spread(0).toFixed(1)} %. Any reasonable way will do, once the weights have come to rest and the start is forgotten.`,
  };
}

export function fiveEstimates(lab: Lab): Task {
  return {
    title: "Any reasonable way",
    parts: [
      p(
        "Frameworks disagree about how to average. Here are five estimates of the same statistics, taken from one and the same training.",
      ),
      predict({
        key: "p4",
        question:
          "After 1000 minibatches, how far apart are the best and the worst of the five in test accuracy?",
        answers: ["About 1 %", "About 5 %", "20 % or more"],
        see: (place) => see(lab, place),
      }),
    ],
  };
}
