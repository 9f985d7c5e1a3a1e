/** What a new key is for, what it may do, and for how long. */

import { api, newIdempotencyKey } from "../api.js";
import { el, fill, newId } from "../dom.js";
import { failedNote } from "../states.js";
import { PURPOSES, SCOPES } from "./scopes.js";

const DAY_MS = 24 * 3600 * 1000;
const LASTS = { 30: "30 days", 90: "90 days", 365: "a year", "": "until it is revoked" };

/** @param {(made: any) => void} onmade */
export function keyForm(onmade) {
  const [nameId, purposeId, lastsId] = [newId("name"), newId("purpose"), newId("lasts")];
  const name = el("input", { id: nameId, maxlength: 200, required: true, autocomplete: "off", placeholder: "contributor, ward 3" });
  const boxes = Object.entries(SCOPES).map(([scope, says]) => {
    const input = el("input", { type: "checkbox", value: scope });
    return { scope, input, label: el("label", { class: "check" }, input, el("span", {}, el("code", {}, scope), el("span", { class: "small muted" }, says))) };
  });
  const choose = (purpose) => boxes.forEach(({ scope, input }) => (input.checked = PURPOSES[purpose].scopes.includes(scope)));
  const purpose = el("select", { id: purposeId, onchange: () => choose(purpose.value) }, Object.entries(PURPOSES).map(([id, each]) => el("option", { value: id }, each.name)));
  const lasts = el("select", { id: lastsId }, Object.entries(LASTS).map(([days, text]) => el("option", { value: days, selected: days === "90" }, text)));
  const trouble = el("div", { "aria-live": "assertive" });
  const button = el("button", { type: "submit", class: "main" }, "Make the key");
  const submit = async (event) => {
    event.preventDefault();
    const scopes = boxes.filter(({ input }) => input.checked).map(({ scope }) => scope);
    const wrong = !name.value.trim() ? "Give the key a name." : !scopes.length ? "A key that may do nothing is of no use; tick something." : "";
    if (wrong) return fill(trouble, el("p", { class: "note warn" }, wrong));
    const expires_at = lasts.value ? new Date(Date.now() + Number(lasts.value) * DAY_MS).toISOString() : null;
    button.disabled = true;
    try {
      onmade(await api("POST", "/v1/keys", { json: { name: name.value.trim(), scopes, expires_at }, headers: { "Idempotency-Key": newIdempotencyKey() } }));
      name.value = "";
      fill(trouble);
    } catch (problem) {
      fill(trouble, failedNote(problem));
    } finally {
      button.disabled = false;
    }
  };
  choose("ask");
  return el(
    "form",
    { class: "card stack", onsubmit: submit, novalidate: true, "aria-label": "Make a key" },
    el("h2", {}, "Make a key"),
    el("div", { class: "field" }, el("label", { for: nameId }, "Name"), name, el("p", { class: "hint" }, "Who or what will hold it.")),
    el("div", { class: "field" }, el("label", { for: purposeId }, "What it is for"), purpose),
    el("details", {}, el("summary", { class: "small" }, "Scopes, one by one"), el("div", { class: "stack tight scopes" }, boxes.map(({ label }) => label))),
    el("div", { class: "field" }, el("label", { for: lastsId }, "Valid"), lasts),
    trouble,
    button,
    el("p", { class: "small muted" }, "A key can give away only what it may do itself."),
  );
}
