/** Whether a model behaves like one that was trained, in a number and in words. */

import { el } from "../dom.js";

const AS_EXPECTED = 0.5;
const HINT = "Reckoned from the model alone, by its answers to drawn pictures. It refuses nothing, and does not say how good a model is.";

/** Rounded down, so that what is doubtful never looks like 0.50. */
const shown = (value) => (Math.floor(value * 100) / 100).toFixed(2);
const expected = (value) => value >= AS_EXPECTED;

/** @param {number | null} value  0 to 1; null where it cannot be told */
export function reliabilityTag(value) {
  if (value === null) return null;
  const word = expected(value) ? "as expected" : "doubtful";
  return el("p", { class: "small" }, el("span", { class: `tag ${expected(value) ? "good" : "warn"}` }, `reliability ${shown(value)}: ${word}`));
}

/** @param {number | null} value  likewise */
export function reliabilityStory(value) {
  if (value === null) return null;
  const words = expected(value) ? "as expected of a trained model" : "doubtful";
  return [el("strong", {}, `${shown(value)}, ${words}`), el("div", { class: "small muted" }, expected(value) ? HINT : `${HINT} Doubtful are models that learnt little, or from wrong labels; so may be honest ones of pictures unlike any photograph.`)];
}
