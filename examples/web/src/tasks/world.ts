// SPDX-License-Identifier: MIT
// Task 6: the world changes, and then a stream of one class.

import { chart } from "../chart";
import { choice, slider } from "../controls";
import { drawDigit } from "../digits";
import { h, p } from "../dom";
import type { Lab } from "../lab";
import { predict, type Task } from "../predict";

const noAdaptation = -1;
const asked = { contrast: 0.3, brightness: 0.2, noise: 0, n: 60 }; // in the question
const sizes = [1, 4, 20, 60];
const trusts = [0, 4, 16, 64, 256];
const sum = (numbers: number[]): number => numbers.reduce((total, value) => total + value, 0);

/** Three bars, one under the other. */
function bars(images: number): { element: HTMLElement; show(rows: [string, number][]): void } {
  const element = h("div", { class: "results", role: "status" });
  return {
    element,
    show: (rows) =>
      element.replaceChildren(
        ...rows.map(([name, right]) => {
          const meter = h("span", { class: "meter" });
          meter.style.setProperty("--share", String(right / images));
          return h(
            "div",
            { class: "bar-row" },
            h("span", {}, name),
            meter,
            h("span", {}, `${right} of ${images}`),
          );
        }),
      ),
  };
}

async function seeCamera(
  lab: Lab,
  place: HTMLElement,
): Promise<{ right: number; because: string }> {
  const [plain = 0, images = 1] = await lab.ask("test_accuracy");
  const results = bars(images);
  const row = h("div", { class: "row small" });
  let latest = 0;
  const tenths = (value: number): string => value.toFixed(1);
  const changed = (): void => void show();
  const contrast = slider(
    {
      key: "contrast",
      label: "Contrast",
      low: 0.1,
      high: 1.5,
      step: 0.1,
      otherwise: asked.contrast,
      shown: tenths,
    },
    changed,
  );
  const brightness = slider(
    {
      key: "bright",
      label: "Brightness",
      low: -0.5,
      high: 0.5,
      step: 0.1,
      otherwise: asked.brightness,
      shown: tenths,
    },
    changed,
  );
  const noise = slider(
    {
      key: "noise",
      label: "Noise",
      low: 0,
      high: 0.3,
      step: 0.05,
      otherwise: asked.noise,
      shown: (value) => value.toFixed(2),
    },
    changed,
  );
  const n = choice(
    "n",
    "n, pictures at a time",
    sizes.map(String),
    sizes.indexOf(asked.n),
    changed,
  );
  const prior = choice(
    "N",
    "N, pictures that the training counts as",
    trusts.map(String),
    0,
    changed,
  );

  async function show(): Promise<void> {
    const mine = ++latest;
    const camera = [contrast.value(), brightness.value(), noise.value()];
    const [source, adapted, ...pictures] = await Promise.all([
      lab.ask("changed_world", ...camera, noAdaptation, 60, 0),
      lab.ask("changed_world", ...camera, trusts[prior.value()] ?? 0, sizes[n.value()] ?? 1, 0),
      ...[0, 1, 2, 3, 4, 5].map((k) => lab.ask("changed_picture", ...camera, k)),
    ]);
    if (mine !== latest) return;
    row.replaceChildren(
      ...pictures.map((pixels) => drawDigit(pixels, "a digit as the other camera sees it")),
    );
    results.show([
      ["the old camera", plain],
      ["other camera, freeze()", sum(source ?? [])],
      ["other camera, adapted", sum(adapted ?? [])],
    ]);
  }
  place.append(
    row,
    contrast.element,
    brightness.element,
    noise.element,
    n.element,
    prior.element,
    results.element,
    p(
      "The mixed statistics are those of N training pictures and the n new ones together: `adapt(norm, moments, Adaptation::prior(N))`. Try n = 1 with N = 0, and then with N = 16.",
      "note",
    ),
  );
  await show();
  const camera = [asked.contrast, asked.brightness, asked.noise];
  const [source = 0, adapted = 0] = (
    await Promise.all([
      lab.ask("changed_world", ...camera, noAdaptation, asked.n, 0),
      lab.ask("changed_world", ...camera, 0, asked.n, 0),
    ])
  ).map(sum);
  const regained = (adapted - source) / Math.max(1, plain - source);
  return {
    right: regained < 0.25 ? 0 : regained < 0.75 ? 1 : 2,
    because: `With the statistics of the training ${source} of ${images} are read, with those of the new pictures ${adapted}. The camera has shifted and scaled what enters the layer, and that is what the layer takes out.`,
  };
}

async function seeStream(
  lab: Lab,
  place: HTMLElement,
): Promise<{ right: number; because: string }> {
  const images = (await lab.ask("test_accuracy"))[1] ?? 1;
  const results = bars(images);
  const plot = chart(
    "pictures of the stream",
    "Share of each minibatch of 20 that is read correctly, with and without adaptation, while one digit after the other comes",
    200,
  );
  const trust = choice(
    "Ns",
    "N, pictures that the training counts as",
    trusts.map(String),
    0,
    () => void show(),
  );
  const size = 20;
  const read = (N: number): Promise<number[]> => lab.ask("changed_world", 1, 0, 0, N, size, 1);
  async function show(): Promise<void> {
    const [source = [], adapted = []] = await Promise.all([
      read(noAdaptation),
      read(trusts[trust.value()] ?? 0),
    ]);
    const percent = (right: number[]): number[] => right.map((count) => (100 * count) / size);
    plot.show(
      source.map((_, k) => (k + 1) * size),
      [
        { name: "freeze(), % right", colour: "#1f2430", values: percent(source) },
        { name: "adapted, % right", colour: "#b3261e", values: percent(adapted) },
      ],
    );
    results.show([
      ["freeze()", sum(source)],
      ["adapted", sum(adapted)],
    ]);
  }
  place.append(trust.element, plot.element, results.element);
  await show();
  const [source = 0, adapted = 0] = (await Promise.all([read(noAdaptation), read(0)])).map(sum);
  return {
    right: adapted > source - 10 ? 0 : adapted > 0.75 * source ? 1 : 2,
    because: `It falls from ${source} to ${adapted} of ${images}. A minibatch of zeros has the mean of a zero, and taking that away takes the answer away. Nothing in the statistics says so: do not adapt where classes come in runs.`,
  };
}

export function world(lab: Lab): Task {
  return {
    title: "The world changes",
    parts: [
      p(
        "The network was trained on one camera. Another one has 0.3 of its contrast, and everything is 0.2 brighter. There are no new labels, and nothing is trained: the layer only takes the mean and variance of the new pictures, 60 at a time.",
      ),
      predict({
        key: "p6",
        question: "How much of what the network could read comes back?",
        answers: ["Next to nothing", "About half", "Nearly all of it"],
        see: (place) => seeCamera(lab, place),
      }),
      p(
        "Back to the old camera. Now the pictures come sorted: first all zeros, then all ones, and so on, 20 at a time. The layer still adapts.",
      ),
      predict({
        key: "p6b",
        question: "What does adapting do to a stream of one class at a time?",
        answers: [
          "No harm: the camera is the same",
          "It costs a little",
          "It costs a quarter of the answers or more",
        ],
        see: (place) => seeStream(lab, place),
      }),
    ],
  };
}
