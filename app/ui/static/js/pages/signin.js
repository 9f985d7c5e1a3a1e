/** Where a key is asked for; the only page that is shown without one. */

import { Problem, api, session } from "../api.js";
import { el, fill, newId } from "../dom.js";
import { icon } from "../icons.js";
import { failedNote } from "../states.js";

export const title = "Sign in";

export function render() {
  return el("div", { class: "signin" }, story(), form(session.takeReason()));
}

function story() {
  return el(
    "section",
    { class: "stack" },
    el("h1", {}, "Pool trained classifiers, never data."),
    el(
      "p",
      { class: "muted" },
      "Modelpool learns from the checkpoints that its members share, and then tells classes apart ",
      "that none of them ever saw, by a handful of your images.",
    ),
    el(
      "ol",
      {},
      el("li", {}, "Show it two or more classes: photographs, scans, drawings."),
      el("li", {}, "Ask about other images, and see how sure it is."),
      el("li", {}, "Take the same request along, for your own program."),
    ),
  );
}

function form(said) {
  const id = newId("key");
  const key = el("input", {
    id,
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    placeholder: "mp_…",
    required: true,
    "aria-describedby": `${id}-hint`,
  });
  const shown = el("input", {
    type: "checkbox",
    onchange: () => key.setAttribute("type", shown.checked ? "text" : "password"),
  });
  const remember = el("input", { type: "checkbox" });
  const trouble = el("div", { "aria-live": "assertive" });
  if (said) fill(trouble, el("p", { class: "note warn" }, said));
  const button = el("button", { class: "main", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const problem = await open(key.value.trim(), remember.checked);
    button.disabled = false;
    if (!problem) return;
    fill(trouble, problem);
    key.focus();
  };
  return el(
    "form",
    { class: "card", onsubmit: submit, novalidate: true },
    el(
      "div",
      { class: "field" },
      el("label", { for: id }, "API key"),
      key,
      el("p", { class: "hint", id: `${id}-hint` }, "From an administrator; a new server prints its first one once, when it starts."),
    ),
    el("label", { class: "check" }, shown, "Show it"),
    el("label", { class: "check" }, remember, "Remember in this tab, until it is closed"),
    trouble,
    button,
    el("p", { class: "small muted row" }, icon("lock", 18), el("span", { class: "grow" }, "The key goes to this server and nowhere else.")),
  );
}

/** The trouble with a key; nothing if it is taken, and the page that was asked for appears. */
async function open(key, remember) {
  if (!key) return el("p", { class: "note warn" }, "Enter a key first.");
  if (!/^[\x21-\x7e]+$/.test(key)) return el("p", { class: "note warn" }, "A key has letters, digits and dashes only; is it copied whole?");
  try {
    await api("GET", "/v1/usage", { headers: { Authorization: `Bearer ${key}` } });
  } catch (error) {
    if (error instanceof Problem) return failedNote(error);
    throw error;
  }
  session.open(key, remember);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  return null;
}
