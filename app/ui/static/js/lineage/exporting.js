/** A meta-learner as a file: asked for with the key, so no link can do it. */

import { Problem, send } from "../api.js";
import { announce, el, fill } from "../dom.js";
import { bytes } from "../format.js";
import { icon } from "../icons.js";
import { failedNote } from "../states.js";

const FORMS = {
  torch: { name: "PyTorch", says: "a zip of the weights and a script that needs torch alone", suffix: "zip" },
  onnx: { name: "ONNX", says: "one file, opset 17", suffix: "onnx" },
};

/** @param {{id: string}} learner */
export function exportButtons(learner) {
  const said = el("div", { "aria-live": "polite" });
  const buttons = Object.entries(FORMS).map(([form, { name, says }]) =>
    el("span", { class: "stack tight" }, el("button", { type: "button", onclick: (event) => take(learner.id, form, event.currentTarget, said) }, icon("download"), name), el("span", { class: "small muted" }, says)),
  );
  return el("div", { class: "stack" }, el("div", { class: "row apart" }, buttons), said);
}

async function take(id, form, button, said) {
  button.disabled = true;
  fill(said, el("p", { class: "small muted" }, "Being made …"));
  try {
    const file = await fetched(`/v1/meta-learners/${id}/export?format=${form}`);
    const name = `${id}.${FORMS[form].suffix}`;
    save(file, name);
    fill(said, el("p", { class: "small" }, `Saved as ${name}, ${bytes(file.size)}.`));
    announce("Saved");
  } catch (problem) {
    fill(said, failedNote(problem));
  } finally {
    button.disabled = false;
  }
}

async function fetched(path) {
  const answer = await send("GET", path);
  if (answer.ok) return answer.blob();
  const body = await answer.json().catch(() => null);
  throw new Problem(body?.detail ? body : { title: `The server answered ${answer.status}`, detail: "The file was not made." });
}

function save(file, name) {
  const url = URL.createObjectURL(file);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a browser may still be reading it
}
