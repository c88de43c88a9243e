// SPDX-License-Identifier: MIT
// The page: trains a network, then shows the seven tasks.

import { readDigits } from "./csv";
import { h, p } from "./dom";
import { Lab } from "./lab";
import { dozenLines } from "./names";
import type { Task } from "./predict";
import * as state from "./state";
import { alone } from "./tasks/alone";
import { company } from "./tasks/company";
import { fiveEstimates } from "./tasks/estimates";
import { folding } from "./tasks/folding";
import { momentum } from "./tasks/momentum";
import { running } from "./tasks/running";
import { world } from "./tasks/world";

const makers: ((lab: Lab) => Task)[] = [
  company,
  alone,
  running,
  fiveEstimates,
  momentum,
  world,
  folding,
];
const lab = new Lab();
const largestSeed = 1e6;

const status = h("p", { id: "status", role: "status" });
const bar = h("progress", { max: 1, value: 0, "aria-label": "Training" });
const seed = h("input", { id: "seed", type: "number", min: 1, max: largestSeed, step: 1 });
const file = h("input", { id: "file", type: "file", accept: ".csv,.tes,text/csv" });
const tasks = h("main", { id: "tasks", hidden: true });
const links = h("nav", { "aria-label": "Tasks" });
let digits: number[] | null = null;

function goTo(section: HTMLElement, key: string): void {
  state.set("at", key);
  section.scrollIntoView({ block: "start" });
  section.querySelector("h2")?.focus({ preventScroll: true });
}

function showTasks(): void {
  const sections = makers.map((make, k) => {
    const task = make(lab);
    return h(
      "section",
      { class: "task", id: `task${k + 1}` },
      h("h2", { tabindex: -1 }, h("span", { class: "number" }, `${k + 1}`), ` ${task.title}`),
      ...task.parts,
    );
  });
  sections.push(dozenLines());
  tasks.replaceChildren(...sections);
  tasks.hidden = false;
  links.replaceChildren(
    ...sections.map((section, k) => {
      const name = k < makers.length ? `${k + 1}` : "C++";
      const title = section.querySelector("h2")?.textContent ?? "";
      return h(
        "button",
        {
          type: "button",
          title,
          "aria-label": k < makers.length ? `Task ${title}` : `C++: ${title}`,
          click: () => goTo(section, name),
        },
        name,
      );
    }),
  );
}

async function train(): Promise<void> {
  const chosen = state.number("seed", 1, 1, largestSeed);
  seed.value = String(chosen);
  tasks.hidden = true;
  bar.hidden = false;
  status.textContent = "Training a network with 64 inputs, 32 channels and 10 answers …";
  try {
    const milliseconds = await lab.train(chosen, digits, (share) => (bar.value = share));
    const [right = 0, images = 0] = await lab.ask("test_accuracy");
    bar.hidden = true;
    const origin = digits === null ? `digits drawn with seed ${chosen}` : "your digits";
    status.textContent = `Trained here, on ${origin}, in ${(milliseconds / 1000).toFixed(1)} s. It reads ${right} of ${images} test images.`;
    status.dataset["right"] = String(right);
    showTasks();
  } catch (error) {
    status.textContent = `The network could not be trained: ${error instanceof Error ? error.message : String(error)}`;
    status.className = "error";
  }
}

async function take(chosen: File | undefined): Promise<void> {
  if (!chosen) return;
  try {
    digits = readDigits(await chosen.text());
    await train();
  } catch (error) {
    status.textContent = `${chosen.name}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

seed.addEventListener("change", () => {
  state.set("seed", seed.value);
  void train();
});
file.addEventListener("change", () => void take(file.files?.[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  void take(event.dataTransfer.files[0]);
});
state.whenChanged(() => void train());

document
  .getElementById("page")
  ?.append(
    h(
      "header",
      {},
      h("h1", {}, "Batch norm at test time"),
      p(
        "Seven predictions, each answered by a real network that has just been trained in this page, by the C++ library itself. Say what you expect, then see. What you do is kept in the address, so a link brings it back.",
      ),
      status,
      bar,
      h(
        "div",
        { class: "setup" },
        h("span", {}, h("label", { for: "seed" }, "Seed "), seed),
        h(
          "span",
          {},
          h("label", { for: "file" }, "Other digits (digits.csv, or drop it here) "),
          file,
        ),
      ),
      links,
    ),
    tasks,
    h("footer", {}, p("One file, no server: nothing leaves this page.")),
  );
void train();
