/** The meta-learners that one may see, newest first. */

import { inShort } from "../builds/report.js";
import { learnerTag } from "../builds/statuses.js";
import { el } from "../dom.js";
import { bytes, counted, when } from "../format.js";
import { growingList } from "../lists.js";
import { empty } from "../states.js";

export const title = "Meta-learners";

export async function render({ signal }) {
  const list = await growingList({
    path: "/v1/meta-learners",
    signal,
    row: learnerRow,
    none: () =>
      empty({
        title: "No meta-learner yet",
        text: "A build makes one of the pool’s models. It then learns new classes from a handful of images.",
        actions: el("a", { class: "button main", href: "#/builds/new" }, "Order a build"),
      }),
  });
  return el(
    "div",
    { class: "page" },
    el("div", { class: "head" }, el("div", {}, el("h1", {}, "Meta-learners"), el("p", { class: "muted" }, "What builds delivered: ready to learn new classes from a handful of images."))),
    list.element,
  );
}

/** What kind of thing it is, in a word or two. @param {any} learner */
export const kindOf = ({ backbone }) => (backbone === "ensemble" ? "ensemble" : `one ${backbone}`);

function learnerRow(learner) {
  const { report } = learner;
  return el(
    "li",
    { class: "card line" },
    el(
      "div",
      { class: "stack tight" },
      el("a", { class: "name", href: `#/learners/${learner.id}` }, `${learner.pool} · ${kindOf(learner)}`),
      el("span", { class: "small muted" }, `${learner.image_size} px · ${bytes(learner.size_bytes)} · `, when(learner.created_at)),
    ),
    el("span", { class: "small muted figures" }, inShort(report)),
    learner.aliases.map((name) => el("span", { class: "tag" }, name)),
    report.warnings.length ? el("span", { class: "tag warn" }, counted(report.warnings.length, "warning")) : null,
    learnerTag(learner.status),
  );
}
