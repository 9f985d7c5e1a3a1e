/** One meta-learner: what it is worth, where it comes from, and taking it along. */

import { api } from "../api.js";
import { reportView } from "../builds/report.js";
import { recipeName } from "../builds/recipes.js";
import { learnerTag } from "../builds/statuses.js";
import { aliasSection } from "../lineage/aliases.js";
import { exportButtons } from "../lineage/exporting.js";
import { chain } from "../lineage/chain.js";
import { el } from "../dom.js";
import { bytes, when } from "../format.js";
import { icon } from "../icons.js";
import { kindOf } from "./learners.js";

export const title = "Meta-learner";

export async function render({ params, signal }) {
  const learner = await api("GET", `/v1/meta-learners/${encodeURIComponent(params.id)}`, { signal });
  const build = await theBuild(learner.build_id, signal);
  return el(
    "div",
    { class: "page" },
    el("p", {}, el("a", { href: "#/learners", class: "row tight" }, icon("back", 18), "Meta-learners")),
    head(learner, build),
    standing(learner),
    el("dl", { class: "card facts" }, facts(learner).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: "figures" }, value)))),
    reportView(learner.report),
    taking(learner),
    aliasSection(learner, signal),
    chain(learner, build, signal),
  );
}

/** The build's record; nothing where the caller's roles do not show it. */
async function theBuild(id, signal) {
  try {
    return await api("GET", `/v1/builds/${id}`, { signal });
  } catch (problem) {
    if (problem.status === 403) return null;
    throw problem;
  }
}

function head(learner, build) {
  return el(
    "div",
    { class: "head" },
    el("div", {}, el("h1", {}, `${learner.pool} · ${kindOf(learner)} `, learnerTag(learner.status)), build && el("p", { class: "muted" }, "Recipe ", recipeName(build.recipe))),
    learner.status === "retired" ? null : el("a", { class: "button main", href: `#/playground?learner=${learner.id}` }, icon("spark"), "Try it on images"),
  );
}

function standing({ status }) {
  if (status === "tainted") return el("p", { class: "note warn" }, el("strong", {}, "It learnt from a model that was withdrawn since."), " It still answers, and has not unlearnt that model; only a build without it does.");
  if (status === "retired") return el("p", { class: "note bad" }, el("strong", {}, "It is retired:"), " it answers no more, and its weights are deleted. One of the models in it was withdrawn; another build takes its place.");
  return null;
}

function facts(learner) {
  return [
    ["Images", `${learner.image_size} × ${learner.image_size} pixels, ${learner.channels === 1 ? "grey" : "colour"}`],
    ["Size", bytes(learner.size_bytes)],
    ["Made", when(learner.created_at)],
    ["SHA-256", el("code", {}, learner.sha256)],
    ["Id", el("code", {}, learner.id)],
  ];
}

function taking(learner) {
  if (learner.status === "retired") return null;
  const text =
    learner.backbone === "ensemble"
      ? "An ensemble is made of other people’s models, so it stays on this server. A build by the recipe multi_teacher gives a network that can be taken along."
      : "It adapts to images and answers without this server. What has left can be neither withdrawn nor retired, so the pool’s record says who took it.";
  return el("section", { class: "card stack" }, el("h2", {}, "Take it along"), el("p", { class: "muted" }, text), learner.backbone === "ensemble" ? null : exportButtons(learner));
}
