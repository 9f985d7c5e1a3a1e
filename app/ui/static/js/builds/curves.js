/** What training measures, as it goes: a curve for each number, against the time since it began. */

import { el, fill, svg } from "../dom.js";
import { duration, percent } from "../format.js";

const plain = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)).replace("-", "−");
const share = (value) => percent(value);

/** @type {Record<string, {name: string, what: string, shown: (value: number) => string}>} */
const KNOWN = {
  distillation_loss: { name: "Distillation loss", what: "how far the network is from what it learns; falls", shown: plain },
  recovery_loss: { name: "Recovery loss", what: "how far recovered tasks are from their models, in nats; falls", shown: plain },
  replay_loss: { name: "Replay loss", what: "on remembered tasks, in nats; falls", shown: plain },
  gradient_alignment: { name: "Gradient alignment", what: "cosine between tasks’ gradients, −1 to 1; higher is better", shown: plain },
  recovery_accuracy: { name: "Recovery accuracy", what: "recovered images that their model recognises", shown: share },
  replay_accuracy: { name: "Replay accuracy", what: "on remembered tasks", shown: share },
  recovered_tasks_per_s: { name: "Recovery rate", what: "tasks recovered a second", shown: (value) => `${plain(value)} tasks/s` },
  bn_gap_drawn: { name: "Statistics gap, as drawn", what: "between pictures and what the models saw", shown: plain },
  bn_gap_refined: { name: "Statistics gap, refined", what: "the same after refinement; lower is better", shown: plain },
};
const HIDDEN = new Set(["recovered_tasks"]);
const ORDER = Object.keys(KNOWN);
const MOST_POINTS = 400;
const [WIDTH, HEIGHT, EDGE] = [320, 96, 4];

/** @typedef {{at: number, value: number}} Point  milliseconds since 1970, and what was measured */

export class Curves {
  constructor() {
    /** @type {Map<string, Point[]>} */
    this.points = new Map();
    this.element = el("div", { class: "curves" });
  }

  /** @param {string} at a point in time @param {Record<string, number>} metrics */
  add(at, metrics) {
    for (const [name, value] of Object.entries(metrics ?? {})) {
      if (HIDDEN.has(name) || !Number.isFinite(value)) continue;
      if (!this.points.has(name)) this.points.set(name, []);
      this.points.get(name)?.push({ at: Date.parse(at), value });
    }
  }

  /** @param {string | null} started */
  draw(started) {
    const names = [...this.points.keys()].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
    fill(this.element, names.map((name) => curve(name, this.points.get(name) ?? [], started ? Date.parse(started) : null)));
  }
}

const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);

function curve(name, all, started) {
  const { name: title, what, shown } = KNOWN[name] ?? { name: name.replaceAll("_", " "), what: "", shown: plain };
  const points = thinned(all);
  const begin = started ?? points[0].at;
  const values = points.map(({ value }) => value);
  const [least, most, last] = [Math.min(...values), Math.max(...values), values[values.length - 1]];
  const ends = [points[0].at, points[points.length - 1].at].map((at) => duration((at - begin) / 1000));
  const said = `${title}: ${shown(values[0])} at ${ends[0]}, ${shown(last)} at ${ends[1]}; between ${shown(least)} and ${shown(most)}`;
  return el(
    "figure",
    { class: "card curve" },
    el("figcaption", {}, el("span", {}, el("strong", {}, title), el("span", { class: "small muted" }, what)), el("span", { class: "figures last" }, shown(last))),
    el(
      "div",
      { class: "plot" },
      el("span", { class: "small muted figures top-left" }, shown(most)),
      line(points, least, most, said),
      el("div", { class: "small muted figures ends" }, el("span", {}, shown(least)), el("span", {}, [...new Set(ends)].join(" to "))),
    ),
  );
}

function line(points, least, most, said) {
  const [first, last] = [points[0].at, points[points.length - 1].at];
  const x = (at) => EDGE + ((WIDTH - 2 * EDGE) * (at - first)) / (last - first || 1);
  const y = (value) => (most === least ? HEIGHT / 2 : EDGE + ((HEIGHT - 2 * EDGE) * (most - value)) / (most - least));
  const placed = points.map(({ at, value }) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  const [endX, endY] = placed[placed.length - 1].split(",");
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said },
    svg("path", { class: "grid", d: `M0 ${EDGE}H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - EDGE}H${WIDTH}` }),
    svg("polyline", { points: placed.join(" ") }),
    svg("circle", { cx: endX, cy: endY, r: 3.5 }),
  );
}

/** Few enough to draw: every n-th, and the last. */
function thinned(points) {
  const step = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, at) => at % step === 0 || at === points.length - 1);
}
