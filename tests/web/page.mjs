// SPDX-License-Identifier: MIT
// The page in headless Chromium, and the native program that its numbers are compared with.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const inBuild = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const patience = 60000;

export const paths = {
  page: inBuild("page.html"),
  wasm: inBuild("lab.wasm"),
  screenshots: inBuild("screenshots"),
};

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

/** What the native program says to some questions, each a name and numbers: numbers, or a refusal. */
export function native(seed, questions) {
  const input = questions.map((question) => `${question.join(" ")}\n`).join("");
  const lines = execFileSync(inBuild("native"), [String(seed)], { input, encoding: "utf8" }).split(
    "\n",
  );
  return questions.map((_, k) =>
    lines[k].startsWith("refused ")
      ? lines[k].slice("refused ".length)
      : lines[k]
          .split(" ")
          .filter((word) => word !== "")
          .map(Number),
  );
}

/** Opens the page offline and waits until its network is trained. Whatever it complains of, or asks a
 * network for, is kept in `troubles`. */
export async function open(browser, { hash = "", width = 1400, phone = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    offline: true,
    isMobile: phone,
    hasTouch: phone,
  });
  const page = await context.newPage();
  const troubles = [];
  page.on("console", (message) => troubles.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  context.on("request", (request) => {
    if (!/^(file|blob|data):/.test(request.url())) troubles.push(`request: ${request.url()}`);
  });
  page.setDefaultTimeout(patience);
  await page.goto(pathToFileURL(paths.page).href + hash);
  await trained(page);
  return { page, troubles };
}

export const trained = (page) => page.waitForSelector("#tasks:not([hidden])");

/** The questions of the page in their order, by their keys in the address; the third one is drawn. */
export const questions = ["p1", "p2", "p4", "p5", "p6", "p6b", "p7", "p7b"];

export const answersOf = (page, key) => page.locator(`[aria-labelledby="${key}-question"] button`);

/** The box around a question and what is seen behind it. */
export const boxOf = (page, key) =>
  page.locator(".predict", { has: page.locator(`#${key}-question`) });

/** Chooses an answer, and waits for what is seen. */
export async function choose(page, key, answer) {
  await answersOf(page, key).nth(answer).click();
  await boxOf(page, key).locator(".verdict:not(:empty)").waitFor();
}

/** Which answer the page calls right. */
export async function rightAnswer(page, key) {
  const classes = await answersOf(page, key).evaluateAll((all) =>
    all.map((button) => button.className),
  );
  return classes.indexOf("right");
}

/** The text of an element, once it is what it should be. */
export async function expectText(locator, wanted) {
  const deadline = Date.now() + patience;
  let text = "";
  while (Date.now() < deadline) {
    text = (await locator.textContent()) ?? "";
    if (typeof wanted === "string" ? text.includes(wanted) : wanted.test(text)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`expected ${wanted}, got ${text}`);
}
