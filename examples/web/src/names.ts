// SPDX-License-Identifier: MIT
// The lines of C++ that the page has been running, and their names in other systems.

import { h, text } from "./dom";

declare const DOZEN_LINES: string;

const none = "—";
const rows: [string, string, string, string][] = [
  [
    "`BatchNorm<float> norm(32)`",
    "`BatchNorm1d(32)`",
    "`BatchNormalization(epsilon=1e-5)`",
    "`BatchNormalization`",
  ],
  ["`norm.train(x)`", "`norm.train()`, `norm(x)`", "`norm(x, training=True)`", "`training_mode=1`"],
  ["`norm.backward(batch, x, dy)`", "`loss.backward()`", "`tape.gradient(...)`", none],
  [
    "`state().gamma -= rate * dgamma`",
    "`optimizer.step()`, of `weight`",
    "`optimizer.apply(...)`, of `gamma`",
    "`scale`",
  ],
  [
    "`state().beta -= rate * dbeta`",
    "`optimizer.step()`, of `bias`",
    "`optimizer.apply(...)`, of `beta`",
    "`B`",
  ],
  ["`rule.running = keep_old(0.99)`", "`momentum=0.01`", "`momentum=0.99`", "`momentum=0.99`"],
  ["`follower(32, rule)`", none, none, none],
  [
    "`follower.commit(batch)`",
    "changes `running_mean`, `running_var`",
    "changes `moving_mean`, `moving_variance`",
    "outputs `running_mean`, `running_var`",
  ],
  ["`norm.freeze()`", "`norm.eval()`", "`training=False`", "`training_mode=0`"],
  ["`frozen(x.col(0))`", "`norm(x[:1])`", "`norm(x[:1])`", "the same node"],
  ["`adapt(norm, …, prior(16))`", none, none, none],
  ["`fold_after(linear(W), b, norm)`", "`fuse_linear_bn_eval`", none, "fused by runtimes"],
];

export function dozenLines(): HTMLElement {
  const said = h("span", { role: "status", class: "copied" });
  const code = h(
    "pre",
    { class: "code", tabindex: 0, "aria-label": "The C++ of this page" },
    h("code", {}, DOZEN_LINES),
  );
  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(DOZEN_LINES);
    } catch {
      // Not permitted to files in some browsers: the selection can always be copied.
      const selection = getSelection();
      selection?.selectAllChildren(code);
      document.execCommand("copy");
    }
    said.textContent = "Copied.";
  }
  const heads = ["here", "PyTorch", "Keras", "ONNX"];
  return h(
    "section",
    { class: "task", id: "code" },
    h("h2", { tabindex: -1 }, "The lines you have been running"),
    h(
      "p",
      {},
      "Header-only C++17 on Eigen. ",
      ...text("`#include <batchnorm/batchnorm.hpp>` brings all of them."),
    ),
    code,
    h(
      "p",
      {},
      h(
        "button",
        { type: "button", class: "plain", id: "copy", click: () => void copy() },
        "Copy the lines",
      ),
      " ",
      said,
    ),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Names in other systems" },
      h(
        "table",
        {},
        h("caption", {}, "What they are called elsewhere"),
        h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col" }, name)))),
        h(
          "tbody",
          {},
          ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, ...text(cell))))),
        ),
      ),
    ),
  );
}
