// SPDX-License-Identifier: MIT
// Elements in one expression.

export type Child = Node | string;
type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;

const svgNames = "http://www.w3.org/2000/svg";

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
}

/** h("button", { class: "big", click: () => go() }, "Go"): a function listens to the event. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(svgNames, tag);
  fill(element, attributes, children);
  return element;
}

/** Text with `code` between backquotes. */
export function text(words: string): Child[] {
  return words
    .split("`")
    .map((part, index) => (index % 2 === 1 ? h("code", {}, part) : part))
    .filter((part) => part !== "");
}

export const p = (words: string, kind = ""): HTMLParagraphElement =>
  h("p", kind === "" ? {} : { class: kind }, ...text(words));
