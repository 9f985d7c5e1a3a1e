/** A new key: on the page this once, and nowhere else. */

import { announce, el, fill } from "../dom.js";
import { icon } from "../icons.js";

/**
 * @param {{name: string, key: string | null}} made
 * @param {() => void} ondone  the person says that they have it
 */
export function secretNote({ name, key }, ondone) {
  if (key === null) return el("div", { class: "note warn" }, "The key was made, but this answer came twice and does not show it again. Revoke it and make another.");
  const copy = el("button", { type: "button" }, icon("copy"), "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(key);
    fill(copy, icon("copy"), "Copied");
    announce("Copied");
  });
  const note = el(
    "section",
    { class: "note good stack secret", tabindex: "-1", "aria-label": "The new key" },
    el("p", {}, el("strong", {}, `The key of ${name}.`), " It is shown here and now, and never again."),
    el("pre", { class: "code", tabindex: "0", "aria-label": "Key" }, key),
    el("div", { class: "row" }, copy, el("button", { type: "button", class: "quiet", onclick: ondone }, "I have it")),
  );
  requestAnimationFrame(() => note.focus());
  return note;
}
