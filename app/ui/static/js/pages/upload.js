/** Checkpoints into the pool: drop them with their manifests, say what is missing, see the verdict. */

import { api } from "../api.js";
import { dropTarget, fileButton } from "../choosers.js";
import { announce, el, fill } from "../dom.js";
import { bytes, counted, when } from "../format.js";
import { readHeader } from "../upload/header.js";
import { Item } from "../upload/item.js";
import { unfinished } from "../upload/sending.js";
import { failedNote } from "../states.js";

export const title = "Upload models";

const CHECKPOINTS = [".safetensors", ".pt", ".pth"];

/** @param {import("../router.js").Visit} visit */
export async function render({ signal }) {
  const [{ items: pools }, open] = await Promise.all([api("GET", "/v1/pools", { signal }), unfinished(signal)]);
  const names = pools.filter(mayContribute).map((pool) => pool.name);
  /** @type {Item[]} */
  let items = [];
  const list = el("div", { class: "stack" });
  const trouble = el("div", { "aria-live": "polite" });
  const sendAll = el("button", { type: "button", class: "main", onclick: () => sendInTurn(items) });
  const draw = () => {
    const waiting = items.filter(({ state }) => state === "details").length;
    sendAll.hidden = waiting === 0;
    sendAll.disabled = items.some(({ state }) => state === "sending");
    fill(sendAll, `Upload ${counted(waiting, "checkpoint")}`);
  };
  const take = async (files) => {
    const { added, left } = await itemsOf(files, names, (item) => {
      items = items.filter((other) => other !== item());
      draw();
    });
    for (const item of added) item.addEventListener("change", draw);
    items.push(...added);
    list.append(...added.map(({ element }) => element));
    if (left) announce("Some files were left out");
    fill(trouble, left ? el("p", { class: "note warn" }, `${counted(left, "file is", "files are")} neither a checkpoint (${CHECKPOINTS.join(", ")}) nor a manifest of one.`) : null);
    draw();
  };
  signal.addEventListener("abort", () => items.forEach((item) => item.leave()));
  draw();
  return el(
    "div",
    { class: "page narrow" },
    el("div", { class: "head" }, el("div", {}, el("h1", {}, "Upload models"), el("p", { class: "muted" }, "A checkpoint is a trained classifier’s weights. Never send data: there is no way to.")), el("a", { class: "button", href: "#/pool" }, "To the pool")),
    names.length ? null : el("p", { class: "note warn" }, "This key’s organisation may not contribute to any pool; ask an owner of one."),
    el("p", { class: "note warn" }, el("strong", {}, "Before you share a model: "), "this server draws images from the checkpoints it is given; that is how it learns, and they can resemble training data. Share no model of data that you may not disclose to who runs it."),
    dropArea(take),
    trouble,
    list,
    el("div", {}, sendAll),
    open.length ? begun(open) : null,
  );
}

const mayContribute = (pool) => pool.roles.some((role) => ["owner", "curator", "contributor"].includes(role));

function dropArea(take) {
  const area = el(
    "div",
    { class: "drop asking" },
    fileButton({ text: "Choose files", icon: "upload", kind: "main", accept: [...CHECKPOINTS, ".json"].join(","), onfiles: take }),
    el("span", {}, "or drop checkpoints here; a manifest beside each (model.safetensors, model.json) fills in the rest"),
  );
  dropTarget(area, (transfer) => take([...transfer.files]));
  return area;
}

const stem = (name) => name.replace(/\.[^.]+$/, "");

async function itemsOf(files, pools, onremove) {
  const checkpoints = files.filter(({ name }) => CHECKPOINTS.some((ending) => name.endsWith(ending)));
  const manifests = new Map(files.filter(({ name }) => name.endsWith(".json")).map((file) => [stem(file.name), file]));
  const added = [];
  for (const file of checkpoints) {
    const manifest = manifests.get(stem(file.name));
    manifests.delete(stem(file.name));
    const said = manifest ? await manifestIn(manifest) : null;
    const known = { ...(await readHeader(file)), name: stem(file.name), ...said };
    const item = new Item(file, known, pools, said !== null, () => onremove(() => item));
    added.push(item);
  }
  return { added, left: files.length - checkpoints.length - (files.filter(({ name }) => name.endsWith(".json")).length - manifests.size) };
}

async function manifestIn(file) {
  try {
    const said = JSON.parse(await file.text());
    return said && typeof said === "object" && !Array.isArray(said) ? said : null;
  } catch {
    return null;
  }
}

async function sendInTurn(items) {
  for (const item of items.filter(({ state }) => state === "details")) await item.send();
}

/** Uploads in parts that stopped half way. */
function begun(uploads) {
  const rows = uploads.map((upload) => {
    const row = el(
      "li",
      { class: "row" },
      el("span", { class: "spring" }, el("strong", {}, upload.name), ` · ${bytes(upload.size_bytes)} · until `, when(upload.expires_at)),
      el("button", { type: "button", onclick: () => giveUp(upload, row) }, "Give up"),
    );
    return row;
  });
  return el(
    "section",
    { class: "card stack" },
    el("h2", {}, "Begun and not finished"),
    el("p", { class: "muted small" }, "Choose the same file with the same name again to go on where it stopped."),
    el("ul", { class: "plain stack" }, rows),
  );
}

async function giveUp(upload, row) {
  try {
    await api("DELETE", `/v1/uploads/${upload.id}`);
    row.remove();
  } catch (error) {
    row.append(failedNote(error));
  }
}
