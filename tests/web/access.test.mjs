// SPDX-License-Identifier: MIT
// The page by keyboard alone, for assistive technology, and on narrow and wide screens.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import test, { after, before } from "node:test";
import { answersOf, boxOf, choose, expectText, launch, open, paths, questions } from "./page.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const widths = [360, 1400];

let browser;
before(async () => {
  browser = await launch();
  mkdirSync(paths.screenshots, { recursive: true });
});
after(() => browser.close());

/** What axe-core finds, and where. */
async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`));
}

async function playAll(page) {
  for (const key of questions) await choose(page, key, 1);
  await page.locator("#compare").click();
  await page.locator("#task3 .seen table").waitFor();
  await page.locator(".tray button").nth(2).click();
  await expectText(page.locator("#task1"), "a minibatch of 2");
}

test("all can be done by keyboard", async () => {
  const { page, troubles } = await open(browser);
  // Only ever forward: the order of the focus is that of reading.
  const tabTo = async (locator) => {
    const wanted = await locator.elementHandle();
    for (let presses = 0; presses < 120; ++presses) {
      if (await wanted.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`the Tab key does not lead to ${locator}`);
  };
  const answer = async (key) => {
    await tabTo(answersOf(page, key).nth(1));
    await page.keyboard.press("Enter");
    await boxOf(page, key).locator(".verdict:not(:empty)").waitFor();
  };
  const moved = async (selector, key) => {
    const input = page.locator(selector);
    await tabTo(input);
    const before = await input.inputValue();
    await page.keyboard.press(key);
    assert.notEqual(await input.inputValue(), before, selector);
  };
  // The links to the tasks move the focus: Tab goes on from there.
  await tabTo(page.locator("nav button").nth(0));
  await page.keyboard.press("Enter");
  await answer("p1");
  await tabTo(page.locator(".tray button").nth(1));
  await page.keyboard.press("Space");
  await expectText(page.locator("#task1"), "a minibatch of 2");
  await answer("p2");
  await tabTo(page.locator("#how-0"));
  await page.keyboard.press("ArrowRight");
  assert.ok(await page.locator("#how-1").isChecked());
  await moved(".handles input:nth-child(3)", "ArrowUp");
  await tabTo(page.locator("#compare"));
  await page.keyboard.press("Enter");
  await page.locator("#task3 .seen table").waitFor();
  await moved("#k", "ArrowLeft");
  await answer("p4");
  await tabTo(page.locator("#stop-2"));
  await page.keyboard.press("ArrowLeft");
  await expectText(page.locator("#task4 caption"), "After 100 minibatches");
  await answer("p5");
  await moved("#new", "ArrowLeft");
  await answer("p6");
  for (const slider of ["#contrast", "#bright", "#noise"]) await moved(slider, "ArrowRight");
  await answer("p6b");
  await answer("p7");
  await answer("p7b");
  await moved("#offset", "ArrowLeft");
  await tabTo(page.locator("#copy"));
  await page.keyboard.press("Enter");
  await expectText(page.locator(".copied"), "Copied");
  assert.deepEqual(troubles, []);
  await page.context().close();
});

for (const width of widths) {
  test(`${width} pixels wide: everything fits, contrast and labels are right`, async () => {
    const { page, troubles } = await open(browser, { width, phone: width < 500 });
    assert.deepEqual(await violations(page), []);
    await playAll(page);
    await page.screenshot({ path: `${paths.screenshots}/page_${width}.png`, fullPage: true });
    for (let task = 1; task <= 7; ++task) {
      await page
        .locator(`#task${task}`)
        .screenshot({ path: `${paths.screenshots}/task${task}_${width}.png` });
    }
    assert.deepEqual(await violations(page), []);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
    // What does not fit scrolls in a box of its own, or is cut off on purpose.
    const outside = await page
      .locator("main *, header *")
      .evaluateAll(
        (all, limit) =>
          all
            .filter(
              (element) =>
                !element.closest(".scroll, .code, .chart, svg") &&
                element.getBoundingClientRect().right > limit + 1,
            )
            .map((element) => element.outerHTML.slice(0, 200)),
        width,
      );
    assert.deepEqual(outside, []);
    const small = await page
      .locator("button, .choice span, .slider input")
      .evaluateAll((all) =>
        all
          .filter(
            (element) => element.checkVisibility() && element.getBoundingClientRect().height < 24,
          )
          .map((element) => element.outerHTML),
      );
    assert.deepEqual(small, []);
    assert.deepEqual(troubles, []);
    await page.context().close();
  });
}

test("the picture for the README", async () => {
  const { page } = await open(browser, { width: 720 });
  await choose(page, "p6", 1);
  // The clip is counted from the top of the page, boxes from that of the window.
  await page.evaluate(() => scrollTo(0, 0));
  const task = await page.locator("#task6").boundingBox();
  const box = await boxOf(page, "p6").boundingBox();
  const clip = { ...task, height: box.y + box.height + 12 - task.y };
  const png = await page.screenshot({ fullPage: true, clip });
  const webp = await page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), {
      width: image.width,
      height: image.height,
    });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", 0.8).split(",")[1];
  }, png.toString("base64"));
  const picture = process.env.SCREENSHOT || `${paths.screenshots}/readme.webp`;
  writeFileSync(picture, Buffer.from(webp, "base64"));
  await page.context().close();
});
