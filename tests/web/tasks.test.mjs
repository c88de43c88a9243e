// SPDX-License-Identifier: MIT
// Plays every task of the page through, and compares what is printed with the native program.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import {
  answersOf,
  boxOf,
  choose,
  expectText,
  launch,
  native,
  open,
  questions,
  rightAnswer,
  trained,
} from "./page.mjs";

const seed = 3;
const sum = (numbers) => numbers.reduce((total, value) => total + value, 0);
const ask = (...question) => native(seed, [question])[0];

let browser, page, troubles;
before(async () => {
  browser = await launch();
  ({ page, troubles } = await open(browser, { hash: `#seed=${seed}` }));
});
after(() => browser.close());

const [right, images] = ask("test_accuracy");

test("the network that is trained reads as many images", async () => {
  await expectText(page.locator("#status"), `reads ${right} of ${images} test images`);
});

test("task 1: companions change the answer, and not that of freeze()", async () => {
  await choose(page, "p1", 0);
  assert.equal(await rightAnswer(page, "p1"), 2);
  const box = boxOf(page, "p1");
  // The first picture that is read wrongly alone and correctly by freeze().
  const likeliest = (numbers) => numbers.indexOf(Math.max(...numbers));
  const first = [...Array(40).keys()].find((k) => {
    const numbers = ask("company", k);
    const digit = ask("picture", k)[64];
    return likeliest(numbers.slice(32, 42)) !== digit && likeliest(numbers.slice(74)) === digit;
  });
  const bits = (number) =>
    new Uint32Array(new Float32Array([number]).buffer)[0].toString(16).padStart(8, "0");
  const sides = box.locator(".side");
  const check = async (...companions) => {
    const numbers = ask("company", first, ...companions.map((k) => first + k));
    for (const [side, from] of [
      [0, 0],
      [1, 42],
    ]) {
      await expectText(
        sides.nth(side).locator(".bits"),
        numbers
          .slice(from, from + 32)
          .map(bits)
          .join(""),
      );
      await expectText(
        sides.nth(side).locator(".reads"),
        `reads ${likeliest(numbers.slice(from + 32, from + 42))}`,
      );
    }
  };
  await check();
  const frozen = await sides.nth(1).locator(".bits").textContent();
  await box.locator(".tray button").nth(0).click();
  await check(1);
  await box.locator(".tray button").nth(4).dragTo(box.locator(".minibatch"));
  await check(1, 5);
  await box.locator(".tray button").nth(0).click();
  await check(5);
  assert.equal(await sides.nth(1).locator(".bits").textContent(), frozen);
  assert.equal(await sides.nth(0).locator(".changed").count(), 32);
  await expectText(box, "and 0 with freeze()");
});

test("task 2: alone, every picture gives beta", async () => {
  await choose(page, "p2", 2);
  assert.equal(await rightAnswer(page, "p2"), 2);
  const box = boxOf(page, "p2");
  const beta = ask("beta")
    .slice(0, 4)
    .map((value) => value.toFixed(4))
    .join("  ");
  await expectText(box.locator(".numbers"), `picture 1: ${beta}`);
  await expectText(box.locator(".numbers"), `picture 2: ${beta}`);
  assert.equal(new Set(await box.locator("figcaption").allTextContents()).size, 1);
  await expectText(box.locator(".message"), ask("refused", 0));
  await box.getByLabel("freeze()").check();
  assert.ok(new Set(await box.locator("figcaption").allTextContents()).size > 1);
});

test("task 3: the running mean beside the guess", async () => {
  const channel = native(
    seed,
    [...Array(32).keys()].map((k) => ["minibatch_means", k, 150, 1]),
  )
    .map(([mean]) => mean)
    .reduce((best, mean, k, all) => (mean > all[best] ? k : best), 0);
  const task = page.locator("#task3");
  await task.locator(".pad").scrollIntoViewIfNeeded();
  const pad = await task.locator(".pad").boundingBox();
  await page.mouse.move(pad.x + 5, pad.y + pad.height - 20);
  await page.mouse.down();
  await page.mouse.move(pad.x + pad.width - 5, pad.y + 40, { steps: 30 });
  await page.mouse.up();
  assert.match(new URL(page.url()).hash, /guess=\d+(\.\d+){8}/);
  await task.locator("#compare").click();
  await expectText(task.locator(".verdict"), "37 %");
  for (const [debiased, k] of [
    [false, 200],
    [false, 30],
    [true, 30],
  ]) {
    await task.locator("#k").fill(String(k));
    await task.getByLabel(debiased ? "is taken out (debiased)" : "counts", { exact: true }).check();
    await expectText(
      task.locator("caption"),
      `${ask("whole_set_means", channel)[k - 1].toFixed(4)}`,
    );
    for (const keep of [0.9, 0.99, 0.999]) {
      const mean = ask("running_means", channel, debiased ? 2 : 1, keep, 0, 200)[k - 1].toFixed(4);
      const weight = debiased ? "0 %" : `${(100 * keep ** k).toFixed(1)} %`;
      await expectText(task.locator("tbody"), `${keep}${mean}${weight}`);
    }
  }
  assert.ok((await task.locator("canvas").count()) === 1);
});

test("task 4: five estimates at three times", async () => {
  await choose(page, "p4", 1);
  const box = boxOf(page, "p4");
  for (const [stop, minibatches] of [20, 100, 1000].entries()) {
    await box.getByLabel(String(minibatches), { exact: true }).check();
    await expectText(box.locator("caption"), `After ${minibatches} minibatches`);
    for (const [row, [kind, weight]] of [
      [0, 0.1],
      [1, 0.99],
      [2, 0.99],
      [3, 0],
      [4, 0],
    ].entries()) {
      const [off, read] = ask("estimate", stop, kind, weight);
      await expectText(
        box.locator("tbody tr").nth(row),
        `${off < 0.0005 ? "0" : off.toFixed(3)}${read} of ${images}`,
      );
    }
  }
});

test("task 5: two sliders that are one", async () => {
  await choose(page, "p5", 0);
  assert.equal(await rightAnswer(page, "p5"), 2);
  const box = boxOf(page, "p5");
  await expectText(box.locator(".result"), `${ask("accuracy", 0, 0.9)[0]} of ${images}`);
  await box.locator("#old").fill("0.99");
  assert.equal(await box.locator("#new").inputValue(), "0.01");
  await expectText(
    box.locator(".result"),
    `69 minibatches. Test images read: ${ask("accuracy", 0, 0.01)[0]} of ${images}`,
  );
  await box.locator("#new").fill("0.5");
  assert.equal(await box.locator("#old").inputValue(), "0.5");
  await box.getByText("Keras's 0.99 in PyTorch").click();
  await expectText(
    box.locator(".result"),
    `one minibatch. Test images read: ${ask("accuracy", 0, 0.99)[0]} of ${images}`,
  );
});

test("task 6: another camera, and a stream of one class", async () => {
  await choose(page, "p6", 2);
  const box = boxOf(page, "p6");
  const check = async (camera, n, prior) => {
    const source = sum(ask("changed_world", ...camera, -1, 60, 0));
    const adapted = sum(ask("changed_world", ...camera, prior, n, 0));
    await expectText(
      box.locator(".results"),
      `freeze()${source} of ${images}other camera, adapted${adapted} of ${images}`,
    );
  };
  await check([0.3, 0.2, 0], 60, 0);
  assert.equal(await rightAnswer(page, "p6"), 2);
  await box.getByRole("radio", { name: "1", exact: true }).check();
  await check([0.3, 0.2, 0], 1, 0);
  await box.getByRole("radio", { name: "16", exact: true }).check();
  await check([0.3, 0.2, 0], 1, 16);
  await box.locator("#contrast").fill("0.5");
  await box.locator("#bright").fill("0.4");
  await box.locator("#noise").fill("0.1");
  await check([0.5, 0.4, 0.1], 1, 16);

  await choose(page, "p6b", 0);
  const stream = boxOf(page, "p6b");
  assert.equal(await rightAnswer(page, "p6b"), 2);
  for (const prior of [0, 64]) {
    await stream.getByRole("radio", { name: String(prior), exact: true }).check();
    await expectText(
      stream.locator(".results"),
      `adapted${sum(ask("changed_world", 1, 0, 0, prior, 20, 1))} of ${images}`,
    );
  }
});

test("task 7: the layer disappears, and a variance goes negative", async () => {
  await choose(page, "p7", 1);
  const [difference, other, numbers, fewer] = ask("folded");
  assert.equal(await rightAnswer(page, "p7"), other === 0 ? 0 : 1);
  const box = boxOf(page, "p7");
  await expectText(box, `${other} of ${images}`);
  await expectText(box, difference.toExponential(2));
  await expectText(box, `${numbers} before, ${fewer} after`);

  await choose(page, "p7b", 2);
  assert.equal(await rightAnswer(page, "p7b"), 2);
  const second = boxOf(page, "p7b");
  for (const power of [4, 2, 6]) {
    await second.locator("#offset").fill(String(power));
    const [naive, ours] = ask("offset_variance", 10 ** power, 20);
    await expectText(second.locator("tbody"), naive.toPrecision(6));
    await expectText(second.locator("tbody"), ours.toPrecision(6));
    if (power === 4) assert.ok(naive < 0 && Math.abs(ours - 1) < 0.1);
  }
});

test("the lines at the end are copied", async () => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator("#copy").click();
  await expectText(page.locator(".copied"), "Copied");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /norm\.train\(x\)[^]*fold_after/);
});

test("a link brings everything back", async () => {
  const hash = new URL(page.url()).hash;
  const words = async (from) =>
    (await from.locator(".verdict, tbody, .result, .results, .bits").allTextContents()).join("\n");
  const { page: other, troubles: complaints } = await open(browser, { hash });
  for (const key of questions) await boxOf(other, key).locator(".verdict:not(:empty)").waitFor();
  await expectText(other.locator("#task3 .verdict"), "37 %");
  const wanted = await words(page);
  const deadline = Date.now() + 20000;
  while ((await words(other)) !== wanted && Date.now() < deadline) await other.waitForTimeout(100);
  assert.equal(await words(other), wanted);
  assert.deepEqual(complaints, []);
  // Whoever edits the address of an open page gets another network.
  await other.evaluate(() => (location.hash = "#seed=4"));
  await trained(other);
  await expectText(other.locator("#status"), `seed 4`);
  await expectText(other.locator("#status"), `reads ${native(4, [["test_accuracy"]])[0][0]} of`);
  assert.equal(await answersOf(other, "p1").nth(0).getAttribute("aria-pressed"), "false");
  await other.context().close();
});

test("other digits can be dropped, and wrong ones are refused", async () => {
  const { page: other, troubles: complaints } = await open(browser);
  const good = Array.from({ length: 1797 }, (_, row) =>
    [...Array.from({ length: 64 }, (_, k) => ((row % 10) * 7 + k * k) % 17), row % 10].join(","),
  ).join("\n");
  const drop = (words) =>
    other.evaluate((text) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([text], "digits.csv"));
      document.body.dispatchEvent(
        new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }),
      );
    }, words);
  await drop(good.replace("0", "17"));
  await expectText(other.locator("#status"), "digits.csv: line 1");
  await drop("1,2,3");
  await expectText(other.locator("#status"), "expected 1797 lines, got 1");
  await other
    .locator("#file")
    .setInputFiles({ name: "digits.csv", mimeType: "text/csv", buffer: Buffer.from(good) });
  await expectText(other.locator("#status"), /on your digits.*reads 360 of 360/);
  await drop(good);
  await expectText(other.locator("#status"), /on your digits.*reads 360 of 360/);
  assert.deepEqual(complaints, []);
  await other.context().close();
});

test("nothing is complained of, and nothing asked of a network", () =>
  assert.deepEqual(troubles, []));
