/** A build's report: the meta-learner beside the trivial ways to do without it, and what to know. */

import { el } from "../dom.js";
import { counted, duration } from "../format.js";

const NAMES = {
  random_initialisation: "An untrained network",
  single_teacher: "One model, on average",
  best_teacher: "The best model",
  pool_features: "All models’ features",
  pool_answers: "All models’ answers",
  pixels: "The pixels themselves",
};
const tenth = (share) => (100 * share).toFixed(1);

/** @param {any} report  as the API tells it */
export function reportView(report) {
  const { estimate, baselines, warnings } = report;
  return el(
    "section",
    { class: "stack", "aria-label": "Report" },
    el("h2", {}, "Report"),
    warnings.filter(({ code }) => code !== UNBEATEN).map(warningNote),
    unbeatenNote(warnings.filter(({ code }) => code === UNBEATEN)),
    estimate ? comparison(estimate, baselines) : null,
    facts(report),
  );
}

const UNBEATEN = "baseline-not-beaten";

const warningNote = ({ code, message }) => el("div", { class: "note warn" }, el("strong", {}, WARNED[code] ?? "Note:"), " ", message);

function unbeatenNote(warnings) {
  if (!warnings.length) return null;
  const head = el("strong", {}, `Not shown to be better than ${warnings.length === 1 ? "a trivial way" : `${warnings.length} trivial ways`}:`);
  return el("div", { class: "note warn" }, head, el("ul", {}, warnings.map(({ message }) => el("li", {}, message))));
}

const WARNED = {
  "level-not-trustworthy": "For comparing only:",
  "not-estimated": "No estimate:",
};

/** The first of an estimate's figures, such as "61.3 % at 5-shot". @param {any} report */
export function inShort({ estimate }) {
  if (!estimate) return "not estimated";
  const shots = Object.keys(estimate.shots);
  const most = shots[shots.length - 1];
  return `${tenth(estimate.shots[most].accuracy)} % at ${most}-shot${estimate.kind === "recovered" ? ", on drawn pictures" : ", on the images sent with the order"}`;
}

function comparison(estimate, baselines) {
  const ours = { name: "", what: "what this build made", shots: estimate.shots };
  return el(
    "div",
    { class: "card stack" },
    el("p", { class: "muted" }, howAsked(estimate)),
    el(
      "div",
      { class: "exams" },
      Object.keys(estimate.shots).map((shots) => exam(shots, estimate.way, [ours, ...baselines])),
    ),
    el("p", { class: "small muted" }, "Accuracy in %, the whiskers its 95 % interval over episodes. The dashed line is chance."),
    calibration(estimate),
    domains(estimate),
  );
}

/** How far probabilities are to be believed. */
function calibration({ calibration_error: errors }) {
  const told = Object.entries(errors ?? {}).map(([shots, error]) => `${tenth(error)} points at ${shots}-shot`);
  return told.length ? el("p", {}, el("strong", {}, "Calibration: "), `probabilities are off by ${told.join(", ")}, on average.`) : null;
}

/** A line for each domain, where the pool has several. */
function domains({ domains: each, shots }) {
  const names = Object.keys(each ?? {});
  if (!names.length) return null;
  const columns = Object.keys(shots);
  const cell = (figure) => el("td", { class: "figures" }, figure ? `${tenth(figure.accuracy)} ± ${tenth((figure.interval[1] - figure.interval[0]) / 2)}` : "–");
  return el(
    "table",
    { class: "exam" },
    el("caption", {}, "By domain, over the questions that its models label"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Domain"), columns.map((n) => el("th", { scope: "col", class: "figures" }, `${counted(Number(n), "image")} of each, %`)))),
    el("tbody", {}, names.map((name) => el("tr", {}, el("th", { scope: "row" }, name), columns.map((n) => cell(each[name][n]))))),
  );
}

function howAsked(estimate) {
  const on = estimate.kind === "recovered" ? "drawn pictures that the pool’s models label" : "the images that were sent with the order";
  const asked = estimate.n_teachers_asked === estimate.n_teachers ? "" : `, of which ${estimate.n_teachers_asked} make the baselines`;
  return `${counted(estimate.n_episodes, "episode")} of ${estimate.way} classes, on ${counted(estimate.n_images, "image")}: ${on}. The pool has ${counted(estimate.n_teachers, "model")}${asked}.`;
}

/** One number of shots: a line for each candidate. */
function exam(shots, way, candidates) {
  const rows = candidates.filter((each) => each.shots[shots]);
  return el(
    "table",
    { class: "exam" },
    el("caption", {}, `${way} classes, ${counted(Number(shots), "image")} of each`),
    el(
      "thead",
      { class: "unseen" },
      el("tr", {}, el("th", { scope: "col" }, "Who"), el("th", { scope: "col" }, "0 to 100 %"), el("th", { scope: "col" }, "Accuracy in %")),
    ),
    el("tbody", {}, rows.map((each, at) => candidate(each, each.shots[shots], at === 0, way))),
  );
}

function candidate({ name, what }, { accuracy, interval }, isOurs, way) {
  const half = (interval[1] - interval[0]) / 2;
  return el(
    "tr",
    { class: isOurs ? "ours" : "" },
    el("th", { scope: "row", title: what }, isOurs ? "This meta-learner" : (NAMES[name] ?? name)),
    el("td", { class: "wide" }, whisker(accuracy, interval, way)),
    el("td", { class: "figures" }, `${tenth(accuracy)} ± ${tenth(half)}`),
  );
}

function whisker(accuracy, interval, way) {
  const track = el("div", { class: "whisker", "aria-hidden": "true" });
  const part = (kind, left, width) => {
    const made = el("span", { class: kind });
    made.style.left = `${100 * left}%`;
    if (width !== undefined) made.style.width = `${100 * width}%`;
    track.append(made);
  };
  part("bar", 0, accuracy);
  part("chance", 1 / way);
  part("range", interval[0], interval[1] - interval[0]);
  part("dot", accuracy);
  return track;
}

function facts(report) {
  const said = [
    report.n_teachers && counted(report.n_teachers, "model"),
    report.steps && counted(report.steps, "step"),
    report.seconds_of_last_attempt && `${duration(report.seconds_of_last_attempt)} of training`,
  ].filter(Boolean);
  return said.length ? el("p", { class: "small muted" }, `Made of ${said.join(", ")}.`) : null;
}
