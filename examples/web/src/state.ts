// SPDX-License-Identifier: MIT
// What the reader has chosen. All of it is in the fragment of the address, so that a link brings it
// back.

const values = new URLSearchParams(location.hash.slice(1));
let written = location.hash;

export function get(key: string, otherwise: string): string {
  return values.get(key) ?? otherwise;
}

/** A number within its limits; what else stands in the address is not one. */
export function number(key: string, otherwise: number, low: number, high: number): number {
  const value = Number(values.get(key) ?? NaN);
  return value >= low && value <= high ? value : otherwise;
}

/** A list of whole numbers from 0 to below `end`. */
export function list(key: string, end: number, otherwise: number[] = []): number[] {
  const value = values.get(key);
  if (value === null) return otherwise;
  return value
    .split(".")
    .filter((part) => part !== "")
    .map(Number)
    .filter((part) => Number.isInteger(part) && part >= 0 && part < end);
}

export function set(key: string, value: string | number | number[]): void {
  values.set(key, Array.isArray(value) ? value.join(".") : String(value));
  written = `#${values.toString()}`;
  history.replaceState(null, "", written);
}

/** Calls back when somebody else has changed the fragment. */
export function whenChanged(changed: () => void): void {
  addEventListener("hashchange", () => {
    if (location.hash === written) return;
    written = location.hash;
    for (const key of [...values.keys()]) values.delete(key);
    new URLSearchParams(location.hash.slice(1)).forEach((value, key) => values.set(key, value));
    changed();
  });
}
