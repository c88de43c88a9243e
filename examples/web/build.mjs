// SPDX-License-Identifier: MIT
// Makes one HTML file of the page: node build.mjs LAB.wasm PAGE.html
// Everything is inside: the module as base64, the worker as text, the styles, the plotting library.

import { buildSync } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const [wasm, page] = process.argv.slice(2);
const largest = 400 * 1024;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const read = (path) => readFileSync(here(path), "utf8");

const bundle = (entry, define) =>
  buildSync({
    entryPoints: [here(`src/${entry}`)],
    bundle: true,
    minify: true,
    write: false,
    target: "es2022",
    charset: "utf8",
    format: "iife",
    define,
  }).outputFiles[0].text;

/** The lines of the program that the page shows. */
const shown = read("cpp/dozen_lines.cpp")
  .match(/\/\/ The page shows:\n([^]*?)\n *\/\/ End of the page\./)[1]
  .replace(/^ {2}/gm, "");

const script = bundle("main.ts", {
  WASM_BASE64: JSON.stringify(readFileSync(wasm).toString("base64")),
  WORKER_TEXT: JSON.stringify(bundle("worker.ts", {})),
  DOZEN_LINES: JSON.stringify(shown),
});
const plotStyles = createRequire(import.meta.url).resolve("uplot/dist/uPlot.min.css");

// Functions, because $& in a replacement would mean something.
const html = read("page.html")
  .replace("/* styles */", () => readFileSync(plotStyles, "utf8") + read("style.css"))
  .replace("/* script */", () => script.replaceAll("</script", "<\\/script"));
writeFileSync(page, html);

const size = gzipSync(html, { level: 9 }).length;
console.log(`${page}: ${size} bytes when compressed by gzip`);
if (size > largest) {
  console.error(`the page is larger than ${largest} bytes`);
  process.exit(1);
}
