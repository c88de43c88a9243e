// SPDX-License-Identifier: MIT
// Line charts by uPlot, as wide as their place.

import uPlot from "uplot";
import { h } from "./dom";

export interface Curve {
  name: string;
  colour: string;
  values: (number | null)[];
  dots?: boolean;
  dash?: number[];
  width?: number;
}

export interface Chart {
  element: HTMLElement;
  show(x: number[], curves: Curve[]): void;
}

const ink = "#333b49";
const rule = "#e3e6eb";

/** @param description  what the chart shows, for those who do not see it */
export function chart(xName: string, description: string, height = 240): Chart {
  const element = h("div", { class: "chart", role: "img", "aria-label": description });
  const legend = h("div", { class: "legend" });
  const place = h("div", {}, element, legend);
  let plot: uPlot | null = null;
  const width = (): number => Math.max(element.clientWidth, 200);
  new ResizeObserver(() => plot?.setSize({ width: width(), height })).observe(element);

  function show(x: number[], curves: Curve[]): void {
    plot?.destroy();
    const axis: uPlot.Axis = {
      stroke: ink,
      grid: { stroke: rule, width: 1 },
      ticks: { stroke: rule, width: 1 },
    };
    const series = curves.map((curve): uPlot.Series => ({
      label: curve.name,
      stroke: curve.colour,
      width: curve.dots ? 0 : (curve.width ?? 2),
      points: { show: curve.dots ?? false, size: 4, fill: curve.colour },
      ...(curve.dash ? { dash: curve.dash } : {}),
    }));
    plot = new uPlot(
      {
        width: width(),
        height,
        scales: { x: { time: false } },
        axes: [{ ...axis, label: xName, labelSize: 20 }, axis],
        series: [{ label: xName }, ...series],
        legend: { show: false },
        cursor: { show: false },
      },
      [x, ...curves.map((curve) => curve.values)],
      element,
    );
    legend.replaceChildren(
      ...curves.map((curve) => {
        const sample = h("span", { class: curve.dots ? "sample dots" : "sample" });
        sample.style.setProperty("--colour", curve.colour);
        return h("span", {}, sample, curve.name);
      }),
    );
  }
  return { element: place, show };
}
