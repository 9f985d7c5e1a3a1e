/** What of the pool is shown: by name, state, backbone, domain, pool, in which order. */

import { BACKBONES } from "../backbones.js";
import { el, newId } from "../dom.js";
import { STATUSES } from "./status.js";

const SETTLE_MS = 300;

/**
 * @typedef {{q: string, status: string, backbone: string, domain: string, pool: string, order: string}} Wanted
 * @param {Wanted} wanted  changed in place
 * @param {string[]} pools
 * @param {() => void} onchange
 */
export function filterBar(wanted, pools, onchange) {
  let settling = 0;
  const change = (name, value, wait) => {
    wanted[name] = value;
    clearTimeout(settling);
    settling = window.setTimeout(onchange, wait);
  };
  const text = (name, label, type) => {
    const input = el("input", { type, value: wanted[name], autocomplete: "off", maxlength: 100, oninput: () => change(name, input.value.trim(), SETTLE_MS) });
    return labelled(label, input);
  };
  const choice = (name, label, options) => {
    const select = el("select", { onchange: () => change(name, select.value, 0) }, options.map(([value, shown]) => el("option", { value, selected: value === wanted[name] }, shown)));
    return labelled(label, select);
  };
  const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
  return el(
    "form",
    { class: "filters", role: "search", "aria-label": "Models", onsubmit: (event) => event.preventDefault() },
    text("q", "Name begins with", "search"),
    choice("status", "Status", all(STATUSES)),
    choice("backbone", "Backbone", all(BACKBONES)),
    text("domain", "Domain is", "search"),
    pools.length > 1 ? choice("pool", "Pool", all(pools)) : null,
    choice("order", "Order", [["newest", "newest first"], ["name", "by name"]]),
  );
}

/** The same for the API; with a name's beginning the order is by name. @param {Wanted} wanted */
export const asQuery = (wanted) => ({ ...wanted, order: wanted.q ? "" : wanted.order });

function labelled(label, input) {
  input.id = newId("filter");
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input);
}
