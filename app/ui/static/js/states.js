/** What a page shows while it has nothing to show: loading, empty, failed. */

import { el } from "./dom.js";

/** Grey shapes where content will be. @param {string} what is being loaded @param {number} [rows] */
export function loading(what, rows = 3) {
  return el(
    "div",
    { class: "loading", role: "status" },
    el("p", { class: "unseen" }, `Loading ${what} …`),
    Array.from({ length: rows }, () => el("div", { class: "bone", "aria-hidden": "true" })),
  );
}

/**
 * Nothing is there yet: why, and what to do about it.
 * @param {{title: string, text: import("./dom.js").Child, picture?: Node,
 *   actions?: import("./dom.js").Child}} said
 */
export function empty({ title, text, picture, actions }) {
  return el(
    "section",
    { class: "state" },
    picture ?? null,
    el("h2", {}, title),
    el("p", {}, text),
    actions ? el("div", { class: "row middle" }, actions) : null,
  );
}

/**
 * Something failed: what, and what to do about it.
 * @param {import("./api.js").Problem | Error} problem
 * @param {() => void} [again] tries once more
 */
export function failed(problem, again) {
  const title = problem.title ?? "This page has a fault";
  const detail = problem.detail ?? "Reload the page. If it stays so, tell who runs this server.";
  return el(
    "section",
    { class: "state bad", role: "alert" },
    el("h2", {}, title),
    el("p", {}, detail),
    faultList(problem),
    problem.requestId
      ? el("p", { class: "small muted" }, "The server's log knows it as ", el("code", {}, problem.requestId))
      : null,
    again
      ? el("div", { class: "row middle" }, el("button", { type: "button", class: "main", onclick: again }, "Try again"))
      : null,
  );
}

/**
 * The same in a line or two, beside what failed.
 * @param {import("./api.js").Problem | Error} problem
 */
export function failedNote(problem) {
  return el(
    "div",
    { class: "note bad", role: "alert" },
    el("strong", {}, problem.title ?? "This page has a fault"),
    " ",
    problem.detail ?? "Reload the page.",
    faultList(problem),
  );
}

function faultList(problem) {
  const faults = (problem.faults ?? []).filter((fault) => fault.detail !== problem.detail);
  if (!faults.length) return null;
  return el("ul", {}, faults.map((fault) => el("li", {}, el("code", {}, fault.part), ": ", fault.detail)));
}
