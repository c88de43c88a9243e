// SPDX-License-Identifier: MIT
// Task 2: a minibatch of one.

import { drawDigit, drawProbabilities, likeliest } from "../digits";
import { h, p } from "../dom";
import { Refused, type Lab } from "../lab";
import { predict, type Task } from "../predict";
import { choice } from "../controls";

const channels = 32;
const half = channels + 10;
const shown = 6;

/** What the library says to a minibatch of one. */
async function refusal(lab: Lab): Promise<string> {
  try {
    await lab.ask("refused", 0);
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
  return "";
}

async function see(lab: Lab, place: HTMLElement): Promise<{ right: number; because: string }> {
  const pictures = await Promise.all(
    Array.from({ length: shown }, (_, k) => lab.ask("picture", k)),
  );
  const answers = await Promise.all(pictures.map((_, k) => lab.ask("company", k)));
  const beta = await lab.ask("beta");
  const row = h("div", { class: "row" });
  const outputs = h("p", { class: "note numbers" });
  const mode = choice("how", "Statistics of", ["the one picture", "freeze()"], 0, () => show());

  function show(): void {
    const from = mode.value() === 0 ? 0 : half;
    row.replaceChildren(
      ...answers.map((numbers, k) => {
        const probabilities = numbers.slice(from + channels, from + half);
        return h(
          "figure",
          {},
          drawDigit(pictures[k] ?? [], `a handwritten ${pictures[k]?.[64] ?? ""}`),
          drawProbabilities(probabilities, `Picture ${k + 1}`),
          h("figcaption", {}, `reads ${likeliest(probabilities)}`),
        );
      }),
    );
    const first = (numbers: number[]): string =>
      numbers
        .slice(0, 4)
        .map((value) => value.toFixed(4))
        .join("  ");
    outputs.textContent = `output, picture 1: ${first((answers[0] ?? []).slice(from))} …\noutput, picture 2: ${first((answers[1] ?? []).slice(from))} …\nbeta:              ${first(beta)} …`;
  }

  place.append(
    mode.element,
    row,
    outputs,
    p("This is what systems do that let it pass. This library refuses:", "note"),
    h(
      "pre",
      { class: "code message", tabindex: 0, "aria-label": "Message of the library" },
      await refusal(lab),
    ),
  );
  show();
  return {
    right: 2,
    because:
      "The mean of one value is that value, so `x - mean` is 0 in every channel and the layer puts out beta, whatever the picture shows.",
  };
}

export function alone(lab: Lab): Task {
  return {
    title: "A minibatch of one",
    parts: [
      p(
        "Now each picture comes alone, and is normalised with the mean and variance of itself: one value per channel.",
      ),
      predict({
        key: "p2",
        question: "Six pictures, each a minibatch of its own. What does the network answer?",
        answers: [
          "Each digit, correctly",
          "Something else each time, as if by chance",
          "The same digit for all six",
        ],
        see: (place) => see(lab, place),
      }),
    ],
  };
}
