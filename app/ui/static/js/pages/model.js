/** One model: everything that its record shows, and taking it back. */

import { api } from "../api.js";
import { el, fill } from "../dom.js";
import { bytes, count, when } from "../format.js";
import { icon } from "../icons.js";
import { touchedBy } from "../lineage/touched.js";
import { owner } from "../pool/card.js";
import { rejection } from "../pool/rejection.js";
import { reliabilityStory } from "../pool/reliability.js";
import { statusTag } from "../pool/status.js";
import { failedNote } from "../states.js";

export const title = "Model";

/** @param {import("../router.js").Visit} visit */
export async function render({ params, signal }) {
  const page = el("div", { class: "page narrow" });
  const path = `/v1/models/${encodeURIComponent(params.id)}`;
  const show = (model) => fill(page, ...parts(model, path, show), touchedBy(model.id, signal));
  const model = await api("GET", path, { signal });
  show(model);
  if (["received", "inspecting"].includes(model.status)) follow(path, signal, show);
  return page;
}

async function follow(path, signal, show) {
  try {
    for (;;) {
      const model = await api("GET", path, { query: { wait_s: 25 }, signal });
      show(model);
      if (!["received", "inspecting"].includes(model.status)) return;
    }
  } catch {
    // left, or the server is away: the page shows what it knew
  }
}

function parts(model, path, show) {
  return [
    el("p", {}, el("a", { href: "#/pool", class: "row tight" }, icon("back", 18), "Pool")),
    el("div", { class: "head" }, el("div", {}, el("h1", {}, model.name), el("p", { class: "row" }, statusTag(model.status), el("span", { class: "muted" }, owner(model)))), withdrawing(model, path, show)),
    model.status === "rejected" ? rejection(model) : null,
    el("dl", { class: "card facts" }, facts(model).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    model.class_names ? el("section", { class: "card stack" }, el("h2", {}, `Classes (${count(model.class_names.length)})`), el("p", { class: "row tight" }, model.class_names.slice(0, 200).map((name) => el("span", { class: "tag" }, name)))) : null,
    note("Description", model.description),
    note("About the training data", model.training_data_note),
  ];
}

function facts(model) {
  const { normalization } = model;
  return [
    ["Backbone", model.backbone],
    ["Images", `${model.image_size} × ${model.image_size} pixels, ${model.channels === 1 ? "grey" : "colour"}`],
    ["Pool", model.pool],
    ["Domain", model.domain],
    ["Reliability", reliabilityStory(model.reliability)],
    ["Parameters", model.n_parameters && count(model.n_parameters)],
    ["Size as uploaded", model.size_bytes && bytes(model.size_bytes)],
    ["Form", model.source_format],
    ["Normalisation", normalization && `mean ${normalization.mean.join(", ")}; deviation ${normalization.std.join(", ")}`],
    ["Declared ε of DP", model.dp_epsilon],
    ["SHA-256 as uploaded", model.sha256 && el("code", {}, model.sha256)],
    ["Uploaded", when(model.created_at)],
    ["Id", el("code", {}, model.id)],
  ].filter(([, value]) => value !== null && value !== undefined);
}

const note = (name, text) => (text ? el("section", { class: "card stack" }, el("h2", {}, name), el("p", { class: "prose" }, text)) : null);

function withdrawing(model, path, show) {
  if (model.status === "withdrawn" || (!model.mine && model.organisation_id === null)) return null;
  const trouble = el("div");
  const yes = el("button", { type: "button", class: "danger" }, "Withdraw it");
  const dialog = el(
    "dialog",
    { "aria-label": "Withdraw this model" },
    el(
      "div",
      { class: "stack" },
      el("h2", {}, "Withdraw this model?"),
      el("p", {}, "Its weights are deleted at once. Builds that use it are canceled, ensembles that hold it are deleted, and meta-learners that learnt from it are marked; they do not unlearn it."),
      el("p", {}, "This cannot be undone."),
      trouble,
      el("div", { class: "row" }, yes, el("button", { type: "button", onclick: () => dialog.close() }, "Keep it")),
    ),
  );
  yes.addEventListener("click", async () => {
    yes.disabled = true;
    try {
      const withdrawn = await api("DELETE", path);
      dialog.close();
      show(withdrawn);
    } catch (error) {
      fill(trouble, failedNote(error));
      yes.disabled = false;
    }
  });
  return el("div", {}, el("button", { type: "button", onclick: () => /** @type {HTMLDialogElement} */ (dialog).showModal() }, "Withdraw …"), dialog);
}
