// SPDX-License-Identifier: MIT
// Task 5: one word for two numbers.

import { chart } from "../chart";
import { slider } from "../controls";
import { h, p } from "../dom";
import type { Lab } from "../lab";
import { predict, type Task } from "../predict";

const shown = 100;
const first = 900;

async function see(lab: Lab, place: HTMLElement): Promise<{ right: number; because: string }> {
  const images = (await lab.ask("test_accuracy"))[1] ?? 1;
  const channel = 0;
  const batches = await lab.ask("minibatch_means", channel, first, shown);
  const plot = chart(
    "minibatch",
    "The running mean of one channel over 100 late minibatches, and the means of these minibatches",
    200,
  );
  const result = h("p", { class: "result", role: "status" });
  let asked = 0;

  async function show(): Promise<void> {
    const mine = ++asked;
    const weight = taken.value();
    const [means, right] = await Promise.all([
      lab.ask("running_means", channel, 0, weight, first, shown),
      lab.ask("accuracy", 0, weight),
    ]);
    if (mine !== asked) return;
    plot.show(
      Array.from({ length: shown }, (_, k) => first + k + 1),
      [
        { name: "minibatch means", colour: "#8a93a3", values: batches, dots: true },
        { name: `running mean, ${weight.toFixed(2)} of it new`, colour: "#1b5fc1", values: means },
      ],
    );
    const half = Math.log(0.5) / Math.log(1 - weight);
    result.textContent = `Half of the average is younger than ${half < 1 ? "one minibatch" : `${half.toFixed(0)} minibatches`}. Test images read: ${right[0] ?? 0} of ${images}.`;
  }
  // Each moves the other: together they are 1.
  const range = { low: 0.01, high: 0.99, step: 0.01, shown: (value: number) => value.toFixed(2) };
  const taken = slider(
    {
      ...range,
      key: "new",
      label: "Weight of the new minibatch",
      otherwise: 0.9,
      ends: ["momentum of PyTorch, MLX, MATLAB: 0 stays as it is", "1 takes the last minibatch"],
    },
    () => {
      kept.set(1 - taken.value());
      void show();
    },
  );
  const kept = slider(
    {
      ...range,
      key: "old",
      label: "Weight of the old average",
      otherwise: 0.1,
      ends: ["momentum of Keras, Flax, ONNX: 0 takes the last minibatch", "1 stays as it is"],
    },
    () => {
      taken.set(1 - kept.value());
      void show();
    },
  );
  kept.set(1 - taken.value());
  const preset = (name: string, weight: number): HTMLElement =>
    h(
      "button",
      {
        type: "button",
        class: "plain",
        click: () => {
          taken.set(weight);
          kept.set(1 - weight);
          void show();
        },
      },
      name,
    );
  place.append(
    h(
      "div",
      { class: "presets", role: "group", "aria-label": "Numbers to try" },
      preset("PyTorch: 0.1", 0.1),
      preset("ONNX: 0.9", 0.1),
      preset("Keras: 0.99", 0.01),
      preset("PyTorch's 0.1 in Keras", 0.9),
      preset("Keras's 0.99 in PyTorch", 0.99),
    ),
    taken.element,
    kept.element,
    plot.element,
    result,
    p(
      "Here nobody can mix them up: `RunningUpdate::take_new(0.1)` and `RunningUpdate::keep_old(0.9)` are the same rule, and a bare number does not compile.",
      "note",
    ),
  );
  await show();
  return {
    right: 2,
    because:
      "In PyTorch, momentum is the weight of the new minibatch; in Keras it is that of the old average. 0.1 in Keras replaces nine tenths of the average at each step.",
  };
}

export function momentum(lab: Lab): Task {
  return {
    title: "Momentum 0.1 or 0.9",
    parts: [
      p("A network moves from PyTorch to Keras, and its settings are copied: `momentum=0.1`."),
      predict({
        key: "p5",
        question: "What does the running mean do in Keras?",
        answers: [
          "The same as before",
          "It hardly moves any more",
          "It jumps to every new minibatch",
        ],
        see: (place) => see(lab, place),
      }),
    ],
  };
}
