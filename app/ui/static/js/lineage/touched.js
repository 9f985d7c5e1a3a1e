/** What was made of a model, and what withdrawing it would touch. */

import { api } from "../api.js";
import { buildTag, learnerTag } from "../builds/statuses.js";
import { el, fill } from "../dom.js";
import { counted, when } from "../format.js";
import { failedNote, loading } from "../states.js";

/**
 * A section for a model's page, which loads by itself.
 * @param {string} modelId
 * @param {AbortSignal} signal
 */
export function touchedBy(modelId, signal) {
  const shown = el("div", { class: "stack" }, loading("what was made of it", 1));
  load(shown, modelId, signal);
  return el("section", { class: "card stack", "aria-label": "Lineage" }, el("h2", {}, "What was made of it"), shown);
}

async function load(holder, modelId, signal) {
  try {
    const lineage = await api("GET", `/v1/models/${encodeURIComponent(modelId)}/lineage`, { signal });
    fill(holder, consequence(lineage), builds(lineage), learners(lineage), whole(lineage));
  } catch (problem) {
    if (signal.aborted) return;
    fill(holder, problem.status === 403 ? el("p", { class: "muted" }, problem.detail) : failedNote(problem));
  }
}

/** The sentence that somebody needs before they withdraw it. */
function consequence({ builds, meta_learners: learners }) {
  const ends = (builds ?? []).filter((build) => build.would_end).length;
  const becomes = (status) => (learners ?? []).filter((learner) => learner.would_become === status).length;
  const touched = [
    ends && `cancel ${counted(ends, "build")}`,
    becomes("retired") && `delete ${counted(becomes("retired"), "ensemble")}`,
    becomes("tainted") && `mark ${counted(becomes("tainted"), "meta-learner")} as having learnt from it`,
  ].filter(Boolean);
  if (touched.length) return el("p", { class: "note warn" }, el("strong", {}, "Withdrawing it would "), `${touched.join(", ")}.`);
  if (builds?.length || learners?.length) return el("p", { class: "muted" }, "Withdrawing it would change none of these.");
  return builds && learners ? el("p", { class: "muted" }, "No build has used it yet, so withdrawing it would touch nothing else.") : null;
}

function builds({ builds: all }) {
  if (!all?.length) return null;
  return group("Builds", all, (build) => [el("a", { href: `#/builds/${build.id}` }, build.algorithm), buildTag(build.status), build.would_end && el("span", { class: "tag warn" }, "would be cancelled")]);
}

const BECOMES = { retired: "would be deleted", tainted: "would be marked" };

function learners({ meta_learners: all }) {
  if (!all?.length) return null;
  return group("Meta-learners", all, (learner) => [
    el("a", { href: `#/learners/${learner.id}` }, learner.backbone),
    learnerTag(learner.status),
    learner.aliases.map((name) => el("span", { class: "tag" }, name)),
    learner.would_become && el("span", { class: "tag warn" }, BECOMES[learner.would_become] ?? learner.would_become),
  ]);
}

function group(name, all, parts) {
  return el(
    "div",
    { class: "stack tight" },
    el("h3", {}, name),
    el("ul", { class: "plainlist" }, all.map((each) => el("li", { class: "row" }, parts(each), el("span", { class: "small muted" }, when(each.created_at))))),
  );
}

function whole(lineage) {
  if (lineage.is_whole) return null;
  const hidden = [lineage.builds === null && "builds", lineage.meta_learners === null && "meta-learners"].filter(Boolean);
  return el("p", { class: "small muted" }, hidden.length ? `Your roles in the pool do not show its ${hidden.join(" and ")}; a curator or an owner sees what withdrawing would touch.` : "There are more; these are the newest.");
}
