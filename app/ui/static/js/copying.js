/** Pieces of code to take along. */

import { announce, el, fill } from "./dom.js";
import { icon } from "./icons.js";

/**
 * A block of code for each language, one at a time, with a button that copies it.
 * @param {Record<string, () => string>} languages by name; asked anew whenever it is shown
 */
export function codeTabs(languages) {
  const names = Object.keys(languages);
  let current = names[0];
  const shown = el("pre", { class: "code", tabindex: "0", "aria-label": "Code" });
  const copy = el("button", { type: "button", onclick: () => take() });
  const buttons = names.map((name) => el("button", { type: "button", class: "quiet", onclick: () => show(name) }, name));
  const show = (name) => {
    current = name;
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(names[at] === name)));
    shown.textContent = languages[name]();
    fill(copy, icon("copy"), "Copy");
  };
  const take = async () => {
    await navigator.clipboard?.writeText(shown.textContent ?? "");
    fill(copy, icon("copy"), "Copied");
    announce("Copied");
  };
  show(current);
  return {
    element: el("div", { class: "stack" }, el("div", { class: "row tabs" }, buttons, el("span", { class: "spring" }), copy), shown),
    /** What is told has changed. */
    refresh: () => show(current),
  };
}
