// SPDX-License-Identifier: MIT
// Pictures of digits, and what the network says about them.

import { h, svg } from "./dom";

const side = 8;

/** An image of 8 x 8 pixels from 0 to 1. */
export function drawDigit(pixels: number[], label: string): SVGSVGElement {
  const picture = svg("svg", {
    class: "digit",
    viewBox: "0 0 8 8",
    role: "img",
    "aria-label": label,
  });
  pixels.slice(0, side * side).forEach((pixel, k) => {
    const grey = Math.round(255 * (1 - pixel));
    picture.append(
      svg("rect", {
        x: k % side,
        y: Math.floor(k / side),
        width: 1.02,
        height: 1.02,
        fill: `rgb(${grey},${grey},${grey})`,
      }),
    );
  });
  return picture;
}

export const likeliest = (probabilities: number[]): number =>
  probabilities.indexOf(Math.max(...probabilities));

/** Ten bars, the largest one marked. */
export function drawProbabilities(probabilities: number[], name: string): HTMLElement {
  const best = likeliest(probabilities);
  const share = (100 * (probabilities[best] ?? 0)).toFixed(0);
  const bars = h("div", {
    class: "bars",
    role: "img",
    "aria-label": `${name}: ${best}, with ${share} %`,
  });
  probabilities.forEach((probability, digit) => {
    const bar = h("span", { class: digit === best ? "bar best" : "bar" });
    bar.style.setProperty("--share", String(probability));
    bars.append(h("span", { class: "column" }, bar, h("span", { class: "name" }, String(digit))));
  });
  return bars;
}

/** The 32 bits of a float, as eight hexadecimal digits. */
export function bitsOf(value: number): string {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0] ?? 0;
  return bits.toString(16).padStart(8, "0");
}
