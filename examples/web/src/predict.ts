// SPDX-License-Identifier: MIT
// A question, some answers to choose from, and what is seen after the choice.

import { h, text, type Child } from "./dom";
import * as state from "./state";

export interface Prediction {
  /** Of the choice, in the address. */
  key: string;
  question: string;
  answers: string[];
  /** Builds what is seen, and says which answer was right, and why in a sentence or two. */
  see(place: HTMLElement): Promise<{ right: number; because: string }>;
}

export function predict(prediction: Prediction): HTMLElement {
  const { key } = prediction;
  const verdict = h("p", { class: "verdict", role: "status", "aria-live": "polite" });
  const seen = h("div", { class: "seen", hidden: true });
  let outcome: Promise<{ right: number; because: string }> | null = null;
  const buttons = prediction.answers.map((answer, k) =>
    h(
      "button",
      { type: "button", "aria-pressed": "false", click: () => void choose(k) },
      ...text(answer),
    ),
  );

  async function choose(chosen: number): Promise<void> {
    state.set(key, chosen);
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
    seen.hidden = false;
    outcome ??= prediction
      .see(seen)
      .catch((error: unknown) => ({ right: -1, because: String(error) }));
    const { right, because } = await outcome;
    buttons.forEach((button, k) => button.classList.toggle("right", k === right));
    const lead = right < 0 ? "" : right === chosen ? "As you said. " : "Not quite. ";
    verdict.replaceChildren(h("strong", {}, lead), ...text(because));
    verdict.className = right === chosen ? "verdict hit" : "verdict miss";
  }

  const element = h(
    "div",
    { class: "predict" },
    h("p", { class: "question", id: `${key}-question` }, ...text(prediction.question)),
    h("div", { class: "answers", role: "group", "aria-labelledby": `${key}-question` }, ...buttons),
    verdict,
    seen,
  );
  const before = state.number(key, -1, 0, prediction.answers.length - 1);
  if (before >= 0) void choose(before);
  return element;
}

export interface Task {
  title: string;
  parts: Child[];
}
