// SPDX-License-Identifier: MIT
// digits.csv, that is optdigits.tes of the UCI Machine Learning Repository: 1797 lines of 64 pixels
// from 0 to 16 and the digit.

const rows = 1797;
const columns = 65;

/** All numbers, row by row; an error names the line. */
export function readDigits(words: string): number[] {
  const lines = words.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length !== rows) throw new Error(`expected ${rows} lines, got ${lines.length}`);
  return lines.flatMap((line, row) => {
    const fields = line.split(",").map((field) => field.trim());
    if (fields.length !== columns) {
      throw new Error(`line ${row + 1}: expected ${columns} values, got ${fields.length}`);
    }
    return fields.map((field, column) => {
      const most = column === columns - 1 ? 9 : 16;
      if (!/^\d{1,2}$/.test(field) || Number(field) > most) {
        throw new Error(
          `line ${row + 1}, value ${column + 1}: expected a whole number from 0 to ${most}, got "${field}"`,
        );
      }
      return Number(field);
    });
  });
}
