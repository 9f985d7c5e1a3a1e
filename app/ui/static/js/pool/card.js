/** A model in the gallery. */

import { el } from "../dom.js";
import { bytes, short, when } from "../format.js";
import { reliabilityTag } from "./reliability.js";
import { statusTag } from "./status.js";

const SHOWN_CLASSES = 5;

/** @param {any} model  as the API shows it; of other members' models much is null */
export function modelCard(model) {
  return el(
    "article",
    { class: "card model" },
    el("div", { class: "row" }, el("h3", { class: "spring" }, el("a", { href: `#/pool/${model.id}` }, model.name)), statusTag(model.status)),
    el("p", { class: "small" }, el("strong", {}, model.backbone), ` · ${model.image_size} px · ${model.channels === 1 ? "grey" : "colour"}`),
    model.reason ? el("p", { class: "small bad-text clip" }, model.reason) : classes(model),
    reliabilityTag(model.reliability),
    el(
      "p",
      { class: "small muted foot-line" },
      [owner(model), model.n_parameters && `${short(model.n_parameters)} parameters`, model.size_bytes && bytes(model.size_bytes)].filter(Boolean).join(" · "),
      " · ",
      when(model.created_at),
    ),
  );
}

/** Whose it is. @param {any} model */
export const owner = (model) => (model.mine ? "yours" : (model.organisation_id ?? "another member’s"));

function classes({ class_names: names, domain }) {
  if (!names) return domain ? el("p", {}, el("span", { class: "tag" }, domain)) : null;
  const more = names.length - SHOWN_CLASSES;
  return el(
    "p",
    { class: "row tight small" },
    domain ? el("span", { class: "tag busy" }, domain) : null,
    names.slice(0, SHOWN_CLASSES).map((name) => el("span", { class: "tag" }, name)),
    more > 0 ? el("span", { class: "muted" }, `+ ${more}`) : null,
  );
}
