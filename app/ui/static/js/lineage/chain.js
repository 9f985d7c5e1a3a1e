/** Where a meta-learner comes from: models, the snapshot of them, the build, it, and its names. */

import { recipeName } from "../builds/recipes.js";
import { buildTag, learnerTag } from "../builds/statuses.js";
import { el, fill } from "../dom.js";
import { counted, when } from "../format.js";
import { allOf } from "../lists.js";
import { statusTag } from "../pool/status.js";
import { failedNote, loading } from "../states.js";

/**
 * @param {any} learner  with `model_ids`
 * @param {any} build  null where the caller's roles do not show it
 * @param {AbortSignal} signal
 */
export function chain(learner, build, signal) {
  const models = el("div", {}, loading("the models", 1));
  showModels(models, learner, signal);
  const hidden = build ? build.n_models - learner.model_ids.length : 0;
  return el(
    "section",
    { class: "card stack" },
    el("h2", {}, "Lineage"),
    el(
      "ol",
      { class: "chain" },
      link("Models", counted(learner.model_ids.length, "model"), hidden > 0 && `and ${hidden} that your roles do not show`),
      link("Snapshot", build ? `${counted(build.n_models, "model")}, as they were` : "as they were then", build && when(build.created_at)),
      build ? link("Build", el("a", { href: `#/builds/${build.id}` }, recipeName(build.recipe)), [buildTag(build.status), " seed ", String(build.seed)]) : link("Build", "not shown by your roles"),
      link("Meta-learner", "this one", learnerTag(learner.status)),
      link("Alias", learner.aliases.length ? learner.aliases.join(", ") : "none", learner.aliases.length > 0 && "ask by it, not by an id"),
    ),
    el("p", { class: "small muted" }, "A model’s own page says what withdrawing it would touch."),
    models,
  );
}

const link = (kind, name, more) => el("li", {}, el("span", { class: "small muted" }, kind), el("strong", {}, name), more ? el("span", { class: "small" }, more) : null);

async function showModels(holder, learner, signal) {
  try {
    const { items, whole } = await allOf("/v1/models", { query: { pool: learner.pool, order: "name" }, signal });
    const within = new Set(learner.model_ids);
    const found = items.filter(({ id }) => within.has(id));
    const rest = within.size - found.length;
    fill(
      holder,
      el("ul", { class: "chips" }, found.map((model) => el("li", {}, el("a", { href: `#/pool/${model.id}` }, model.name), model.status === "ready" ? null : statusTag(model.status)))),
      rest > 0 && el("p", { class: "small muted" }, `${counted(rest, "more model")} ${whole ? "that are in other pools by now" : "of a pool too large to list here"}.`),
    );
  } catch (problem) {
    if (!signal.aborted) fill(holder, failedNote(problem));
  }
}
