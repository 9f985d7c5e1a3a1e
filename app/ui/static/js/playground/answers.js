/** What each query was taken for, how sure the meta-learner is, and what it looked most like. */

import { el } from "../dom.js";
import { counted, duration, probability } from "../format.js";
import { icon } from "../icons.js";

const SHOWN = 4;

/**
 * The cards of all queries, newest first.
 * @param {import("./conversation.js").Conversation} talk
 * @param {(picture: import("./pictures.js").Picture) => void} onremove
 */
export function answerCards(talk, onremove) {
  return talk.questions.map((question, at) => card(question, at, onremove));
}

/** One line about all of them. @param {import("./conversation.js").Conversation} talk */
export function summary(talk) {
  const answered = talk.questions.filter((question) => question.state === "answered");
  if (!answered.length) return null;
  const unsure = answered.filter((question) => question.answer.abstained).length;
  const drawn = answered.filter((question) => question.picture.truth && !question.answer.abstained);
  const right = drawn.filter((question) => question.answer.label === question.picture.truth).length;
  const last = answered[0];
  return el(
    "p",
    { class: "small muted figures" },
    `${counted(answered.length, "image")} answered`,
    unsure ? `, ${unsure} of them too unsure` : "",
    drawn.length ? `; ${right} of ${drawn.length} named as drawn` : "",
    `. ${counted(last.together, "image")} took ${duration(last.msHere / 1000)}, ${duration(last.msThere / 1000)} of it on the server.`,
  );
}

function card(question, at, onremove) {
  const { picture, state } = question;
  return el(
    "article",
    { class: "card answer", "aria-label": `Query ${at + 1}` },
    el("img", { class: "asked", src: picture.url, alt: `Query ${at + 1}` }),
    el(
      "div",
      { class: "said" },
      state === "answered" ? answered(question) : null,
      state === "failed" ? el("p", { class: "bad-text" }, question.problem?.detail ?? "This failed.") : null,
      state === "asking" ? el("p", { class: "muted" }, "Asking …") : null,
      state === "waiting" ? el("p", { class: "muted" }, "Waits for the classes") : null,
    ),
    el("button", { type: "button", class: "drop-thumb", "aria-label": `Remove query ${at + 1}`, onclick: () => onremove(picture) }, icon("close", 14)),
  );
}

function answered({ picture, answer, nearest }) {
  const ranked = Object.entries(answer.probabilities).sort(([, a], [, b]) => b - a);
  const rest = ranked.slice(SHOWN);
  return [
    el(
      "div",
      { class: "verdict" },
      el("strong", {}, answer.abstained ? "Not sure enough" : answer.label),
      answer.abstained ? el("span", { class: "tag warn" }, `at best ${answer.label}`) : null,
      picture.truth ? drawnAs(picture.truth, answer) : null,
    ),
    el("ul", { class: "bars" }, ranked.slice(0, SHOWN).map(bar)),
    rest.length ? el("details", { class: "small" }, el("summary", {}, `${rest.length} more`), el("ul", { class: "bars" }, rest.map(bar))) : null,
    nearest ? el("p", { class: "nearest small muted" }, el("img", { src: nearest.picture.url, alt: "" }), `Most like this image of ${nearest.label}`) : null,
  ];
}

function drawnAs(truth, answer) {
  if (answer.abstained) return el("span", { class: "tag" }, `drawn as ${truth}`);
  return answer.label === truth ? el("span", { class: "tag good" }, "as drawn") : el("span", { class: "tag bad" }, `drawn as ${truth}`);
}

function bar([label, p], place) {
  const length = el("span", { class: place === 0 ? "length first" : "length", "aria-hidden": "true" });
  length.style.width = `${Math.max(1, 100 * p)}%`;
  return el("li", {}, el("span", { class: "bar-name" }, label), el("span", { class: "bar-track", "aria-hidden": "true" }, length), el("span", { class: "figures" }, probability(p)));
}
