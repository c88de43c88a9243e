// SPDX-License-Identifier: MIT
// Labelled inputs whose values are kept in the address.

import { h } from "./dom";
import * as state from "./state";

interface Range {
  key: string;
  label: string;
  low: number;
  high: number;
  step: number;
  otherwise: number;
  /** What stands at its ends. */
  ends?: [string, string];
  shown?: (value: number) => string;
}

export interface Slider {
  element: HTMLElement;
  value(): number;
  set(value: number): void;
}

/** @param changed  called after the reader has moved it */
export function slider(range: Range, changed: () => void): Slider {
  const shown = range.shown ?? String;
  const output = h("output", { for: range.key });
  const input = h("input", {
    type: "range",
    id: range.key,
    min: range.low,
    max: range.high,
    step: range.step,
  });
  const show = (): void => {
    output.textContent = shown(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.value = String(state.number(range.key, range.otherwise, range.low, range.high));
  input.addEventListener("input", () => {
    state.set(range.key, input.value);
    show();
    changed();
  });
  show();
  const ends = (range.ends ?? []).map((name) => h("span", {}, name));
  return {
    element: h(
      "div",
      { class: "slider" },
      h("label", { for: range.key }, range.label),
      output,
      input,
      ...(ends.length > 0 ? [h("div", { class: "ends" }, ...ends)] : []),
    ),
    value: () => Number(input.value),
    set(value) {
      input.value = String(value);
      state.set(range.key, input.value);
      show();
    },
  };
}

export interface Choice {
  element: HTMLElement;
  value(): number;
}

/** One of some names, as a row of radio buttons; its value is the number of the name. */
export function choice(
  key: string,
  label: string,
  names: string[],
  otherwise: number,
  changed: () => void,
): Choice {
  let value = state.number(key, otherwise, 0, names.length - 1);
  const row = h("div", { class: "choice", role: "radiogroup", "aria-label": label });
  names.forEach((name, k) => {
    const input = h("input", { type: "radio", name: key, id: `${key}-${k}`, value: k });
    input.checked = k === value;
    input.addEventListener("change", () => {
      value = k;
      state.set(key, k);
      changed();
    });
    row.append(h("span", {}, input, h("label", { for: `${key}-${k}` }, name)));
  });
  return {
    element: h("div", { class: "labelled" }, h("span", { "aria-hidden": "true" }, label), row),
    value: () => value,
  };
}

/** A checkbox. */
export function tick(key: string, label: string, otherwise: boolean, changed: () => void): Choice {
  const input = h("input", { type: "checkbox", id: key });
  input.checked = state.number(key, otherwise ? 1 : 0, 0, 1) === 1;
  input.addEventListener("change", () => {
    state.set(key, input.checked ? 1 : 0);
    changed();
  });
  return {
    element: h("span", { class: "tick" }, input, h("label", { for: key }, label)),
    value: () => (input.checked ? 1 : 0),
  };
}
