// SPDX-License-Identifier: MIT
// Makes one HTML file of the page: node build.mjs LAB.wasm PAGE.html NODE_MODULES
// Everything is inside: the module as base64, the worker as text, the styles, the plotting library.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const [wasm, page, modules] = process.argv.slice(2).map((path) => resolve(path));
const here = dirname(fileURLToPath(import.meta.url));
const { buildSync } = createRequire(join(modules, "x.js"))("esbuild");
const largest = 400 * 1024;

const bundle = (entry, define) =>
  buildSync({
    entryPoints: [join(here, "src", entry)],
    bundle: true,
    minify: true,
    write: false,
    target: "es2022",
    charset: "utf8",
    format: "iife",
    nodePaths: [modules],
    define,
  }).outputFiles[0].text;

/** The lines of the program at the end that the page shows. */
const shown = readFileSync(join(here, "cpp/dozen_lines.cpp"), "utf8")
  .match(/\/\/ The page shows:\n([^]*?)\n *\/\/ End of the page\./)[1]
  .replace(/^ {2}/gm, "");

const worker = bundle("worker.ts", {});
const script = bundle("main.ts", {
  WASM_BASE64: JSON.stringify(readFileSync(wasm).toString("base64")),
  WORKER_TEXT: JSON.stringify(worker),
  DOZEN_LINES: JSON.stringify(shown),
});
const styles =
  readFileSync(join(modules, "uplot/dist/uPlot.min.css"), "utf8") +
  readFileSync(join(here, "style.css"), "utf8");

// Functions, because $& in a replacement would mean something.
const html = readFileSync(join(here, "page.html"), "utf8")
  .replace("/* styles */", () => styles)
  .replace("/* script */", () => script.replaceAll("</script", "<\\/script"));
writeFileSync(page, html);

const size = gzipSync(html, { level: 9 }).length;
console.log(`${page}: ${html.length} bytes, ${size} gzipped`);
if (size > largest) {
  console.error(`the page is larger than ${largest} bytes gzipped`);
  process.exit(1);
}
