/** What the pages about who may do what have at their head. */

import { el } from "../dom.js";

const PAGES = [
  ["#/access", "Keys"],
  ["#/access/members", "Members"],
  ["#/access/audit", "Audit"],
];

/** @param {string} here  the address of the page that is shown @param {string} says */
export function accessHead(here, says) {
  return el(
    "div",
    { class: "stack" },
    el("div", {}, el("h1", {}, "Access"), el("p", { class: "muted" }, says)),
    el(
      "nav",
      { class: "row subnav", "aria-label": "Access" },
      PAGES.map(([href, name]) => el("a", { href, class: "button", "aria-current": href === here ? "page" : null }, name)),
    ),
  );
}
