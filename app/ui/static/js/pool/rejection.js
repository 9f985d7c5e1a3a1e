/** Why a checkpoint was not taken, and what to do about it. */

import { el } from "../dom.js";

/**
 * The first line as text; a table that follows, such as layers side by side, as it is.
 * @param {any} model  rejected
 */
export function rejection(model) {
  const [first, ...rest] = (model.reason ?? "The server did not say.").split("\n");
  return el(
    "section",
    { class: "note bad stack", "aria-label": "Why it was not taken" },
    el("p", {}, el("strong", {}, "Not taken: "), first),
    rest.length ? el("details", {}, el("summary", {}, "In detail"), el("pre", { class: "code", tabindex: "0", "aria-label": "In detail" }, rest.join("\n"))) : null,
    model.recipe ? el("p", {}, el("strong", {}, "What to do:")) : null,
    model.recipe ? el("pre", { class: "code wrap", tabindex: "0", "aria-label": "What to do" }, model.recipe) : null,
  );
}
