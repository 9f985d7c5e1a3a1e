/** The task map: a pool's models laid out by how alike their tasks are. */

import { api } from "../api.js";
import { el, fill, newId, svg } from "../dom.js";
import { counted, percent } from "../format.js";
import { icon } from "../icons.js";
import { neighbour } from "../pool/neighbour.js";
import { remember } from "../router.js";
import { empty } from "../states.js";

export const title = "Task map";

const SIDE = 600;
const EDGE = 24;
const COLOURS = 7; // more domains share the last, grey one

/** @param {import("../router.js").Visit} visit */
export async function render({ query, signal }) {
  const { items: pools } = await api("GET", "/v1/pools", { signal });
  const chosen = pools.find((pool) => pool.name === query.get("pool")) ?? pools[0];
  const place = el("div", { class: "stack" });
  const show = async (pool) => {
    const found = await api("GET", `/v1/pools/${encodeURIComponent(pool.id)}/task-map`, { signal });
    fill(place, found.items.length > 1 ? drawn(found) : tooFew(found));
  };
  if (chosen) await show(chosen);
  else fill(place, tooFew({ models_ready: 0 }));
  return el(
    "div",
    { class: "page" },
    el("p", {}, el("a", { href: "#/pool", class: "row tight" }, icon("back", 18), "Pool")),
    el("div", { class: "head" }, el("div", {}, el("h1", {}, "Task map"), el("p", { class: "muted" }, "Near each other: models that tell the same drawn pictures apart in a like way.")), poolChoice(pools, chosen, show)),
    place,
  );
}

function poolChoice(pools, chosen, show) {
  if (pools.length < 2) return null;
  const id = newId("pool");
  const select = el(
    "select",
    {
      id,
      onchange: () => {
        remember({ pool: select.value });
        show(pools.find((pool) => pool.name === select.value));
      },
    },
    pools.map((pool) => el("option", { value: pool.name, selected: pool === chosen }, pool.name)),
  );
  return el("div", { class: "field learner" }, el("label", { for: id }, "Pool"), select);
}

function drawn({ items, models_ready: ready, kept }) {
  const domains = [...new Set(items.map(({ domain }) => domain ?? "no domain said"))].sort();
  const colour = (model) => Math.min(domains.indexOf(model.domain ?? "no domain said"), COLOURS - 1);
  const told = el("p", { class: "told", "aria-live": "polite" }, "Point at a model, or go from one to the next with the arrow keys; click or press Enter to open it.");
  const tell = (model) => fill(told, el("strong", {}, model.name), ` · ${model.backbone} · ${model.domain ?? "no domain said"}${model.mine ? " · yours" : ""}`);
  const missing = ready - items.length;
  const points = items.map((model) => point(model, colour(model), tell));
  return [
    el(
      "div",
      { class: "card map" },
      plane(items, points),
      el(
        "div",
        { class: "stack" },
        told,
        el("ul", { class: "legend", "aria-label": "Domains" }, domains.map((domain, at) => el("li", {}, svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, mark(8, 8, 6, Math.min(at, COLOURS - 1))), domain))),
        el("p", { class: "small muted" }, `The map shows ${percent(kept)} of the differences between the models; the axes mean nothing.`),
        missing > 0 ? el("p", { class: "small muted" }, `${counted(missing, "ready model has", "ready models have")} no place: inspected by an older release, or one of more than a thousand.`) : null,
      ),
    ),
  ];
}

/** One stop of the tab key, since a pool may have a thousand; the arrow keys go on within. */
function plane(items, points) {
  const drawing = svg("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label": `${counted(items.length, "model")} by how alike their tasks are` }, points);
  let here = 0;
  const move = (to) => {
    points[here].setAttribute("tabindex", "-1");
    points[to].setAttribute("tabindex", "0");
    here = to;
  };
  points.forEach((each, at) => each.addEventListener("focus", () => move(at)));
  drawing.addEventListener("keydown", (event) => {
    const to = neighbour(items, here, event.key);
    if (to < 0) return;
    event.preventDefault();
    points[to].focus();
  });
  move(0);
  return drawing;
}

function point(model, colour, tell) {
  const at = (value) => EDGE + ((SIDE - 2 * EDGE) * (value + 1)) / 2;
  const link = svg("a", { href: `#/pool/${model.model_id}`, tabindex: -1, "aria-label": `${model.name}, ${model.domain ?? "no domain said"}` }, svg("title", {}, model.name), mark(at(model.x), SIDE - at(model.y), 8, colour));
  for (const event of ["focus", "pointerenter"]) link.addEventListener(event, () => tell(model));
  return link;
}

/** A form and a colour for each domain: not everybody sees colours alike. */
function mark(x, y, size, colour) {
  const kind = `mark c${colour}`;
  const forms = [
    () => svg("circle", { class: kind, cx: x, cy: y, r: size }),
    () => svg("rect", { class: kind, x: x - size, y: y - size, width: 2 * size, height: 2 * size, rx: 2 }),
    () => svg("path", { class: kind, d: `M${x} ${y - size * 1.2}l${size * 1.2} ${size * 2.1}h${-size * 2.4}z` }),
    () => svg("path", { class: kind, d: `M${x} ${y - size * 1.3}l${size * 1.3} ${size * 1.3}-${size * 1.3} ${size * 1.3}-${size * 1.3}-${size * 1.3}z` }),
  ];
  return forms[colour % forms.length]();
}

const tooFew = ({ models_ready: ready }) =>
  empty({
    title: "Too few models for a map",
    text: ready > 1 ? "The ready models were inspected by an older release, which kept nothing to place them by." : "Two ready models are needed.",
    actions: el("a", { class: "button main", href: "#/upload" }, "Upload models"),
  });
