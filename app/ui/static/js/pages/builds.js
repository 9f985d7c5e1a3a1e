/** The builds that one may see, newest first. */

import { buildTag, isOver } from "../builds/statuses.js";
import { recipeName } from "../builds/recipes.js";
import { seconds } from "../builds/estimate.js";
import { el } from "../dom.js";
import { counted, duration, percent, when } from "../format.js";
import { icon } from "../icons.js";
import { growingList } from "../lists.js";
import { empty } from "../states.js";

export const title = "Builds";

export async function render({ signal }) {
  const list = await growingList({
    path: "/v1/builds",
    signal,
    row: buildRow,
    none: () =>
      empty({
        title: "No build yet",
        text: "A build makes a meta-learner of the pool’s models: one that learns new classes from a handful of images.",
        actions: order(),
      }),
  });
  return el(
    "div",
    { class: "page" },
    el("div", { class: "head" }, el("div", {}, el("h1", {}, "Builds"), el("p", { class: "muted" }, "Each makes a meta-learner of a snapshot of a pool.")), list.isEmpty ? null : order()),
    list.element,
  );
}

const order = () => el("a", { class: "button main", href: "#/builds/new" }, icon("add"), "Order a build");

function buildRow(build) {
  return el(
    "li",
    { class: "card line" },
    el(
      "div",
      { class: "stack tight" },
      el("a", { class: "name", href: `#/builds/${build.id}` }, recipeName(build.recipe)),
      el("span", { class: "small muted" }, `${build.pool} · ${counted(build.n_models, "model")} · `, when(build.created_at)),
    ),
    el("span", { class: "small muted figures" }, howLong(build)),
    buildTag(build.status),
  );
}

function howLong(build) {
  if (build.status === "running") return [percent(build.progress), build.eta_s !== null && `${duration(build.eta_s)} left`].filter(Boolean).join(", ");
  if (isOver(build.status) && build.started_at && build.finished_at) return duration(seconds(build));
  return "";
}
