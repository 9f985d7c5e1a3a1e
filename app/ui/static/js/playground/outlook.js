/** What the support images let expect, before and beside any answer. */

import { el } from "../dom.js";
import { counted, percent } from "../format.js";
import { failedNote } from "../states.js";

/**
 * @param {import("./conversation.js").Conversation} talk
 * @param {{sameName: string}} bins
 */
export function outlookPanel(talk, bins) {
  if (bins.sameName) {
    return el("div", { class: "note warn" }, "Two classes are named ", el("strong", {}, bins.sameName), ". Give each a name of its own.");
  }
  if (talk.phase === "incomplete") return el("p", { class: "muted" }, "Two classes with an image each are enough to begin; three or more images each say how sure to be.");
  if (talk.phase === "adapting") return el("p", { class: "muted", role: "status" }, "Learning the classes …");
  if (talk.phase === "failed" && talk.problem) {
    return el("div", { class: "stack" }, failedNote(talk.problem), el("div", {}, el("button", { type: "button", onclick: () => talk.again() }, "Try again")));
  }
  return expectation(talk.outlook);
}

function expectation(outlook) {
  const said = outlook.expected_accuracy;
  return el(
    "div",
    { class: "stack" },
    said === null
      ? el("p", {}, el("strong", {}, "Ready."), " How often it will be right cannot be told from these images alone.")
      : el(
          "div",
          { class: "expect" },
          el("span", { class: "big figures" }, percent(said)),
          el(
            "div",
            {},
            el("p", {}, "expected to be right"),
            el("p", { class: "small muted" }, `95 % interval ${interval(outlook.interval)}; each of ${counted(outlook.images_left_out, "image")} left out once`),
          ),
          scale(outlook),
        ),
    outlook.warnings.map((warning) => el("div", { class: "note warn" }, warning.message)),
  );
}

function interval(bounds) {
  return bounds ? `${percent(bounds[0])} to ${percent(bounds[1])}` : "not known";
}

/** The interval on a line from 0 to 100 %, with the estimate as a dot. */
function scale({ expected_accuracy: at, interval: bounds }) {
  const line = el("div", { class: "scale", "aria-hidden": "true" });
  if (bounds) {
    const range = el("span", { class: "range" });
    range.style.left = `${100 * bounds[0]}%`;
    range.style.width = `${100 * (bounds[1] - bounds[0])}%`;
    line.append(range);
  }
  const dot = el("span", { class: "dot" });
  dot.style.left = `${100 * at}%`;
  line.append(dot);
  return line;
}
