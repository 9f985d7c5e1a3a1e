/** The names that point at a meta-learner: give one, move one here, take one away. */

import { api } from "../api.js";
import { confirmed } from "../confirming.js";
import { announce, el, fill, newId } from "../dom.js";
import { counted, when } from "../format.js";
import { failedNote, loading } from "../states.js";

const NAME = "[a-z0-9][a-z0-9._\\-]*";

/**
 * A section for a meta-learner's page, which loads by itself.
 * @param {{id: string, pool: string, status: string}} learner
 * @param {AbortSignal} signal
 */
export function aliasSection(learner, signal) {
  const holder = el("div", { class: "stack" }, loading("its aliases", 1));
  const path = `/v1/pools/${encodeURIComponent(learner.pool)}/aliases`;
  const refresh = async () => {
    try {
      const { items } = await api("GET", path, { signal });
      fill(holder, shown(items, learner, path, refresh), learner.status === "retired" ? null : form(items, learner, path, refresh));
    } catch (problem) {
      if (!signal.aborted) fill(holder, failedNote(problem));
    }
  };
  refresh();
  return el(
    "section",
    { class: "card stack", "aria-label": "Aliases" },
    el("h2", {}, "Aliases"),
    el("p", { class: "muted" }, "A name that programs ask by. Moved to another meta-learner, it takes everybody along; its history says where it pointed when."),
    holder,
  );
}

function shown(all, learner, path, refresh) {
  const here = all.filter((alias) => alias.meta_learner_id === learner.id);
  if (!here.length) return el("p", {}, "No alias points here.");
  return el("ul", { class: "plainlist" }, here.map((alias) => el("li", { class: "stack tight" }, row(alias, path, refresh), history(alias, path))));
}

function row(alias, path, refresh) {
  const away = confirmed({
    text: "Remove",
    label: `Remove the alias ${alias.name}`,
    question: `Whoever asks by ${alias.address} will be refused.`,
    yes: "Remove it",
    act: async () => {
      await api("DELETE", `${path}/${alias.name}`);
      announce(`${alias.name} is removed`);
      await refresh();
    },
  });
  return el("div", { class: "row apart" }, el("span", {}, el("strong", {}, alias.name), " ", el("span", { class: "small muted" }, "ask it as ", el("code", {}, alias.address), ", since ", when(alias.moved_at))), away);
}

/** Where it pointed when; asked for when it is opened. */
function history(alias, path) {
  const moves = el("div", {}, loading("its history", 1));
  let asked = false;
  const open = async () => {
    if (asked) return;
    asked = true;
    try {
      const told = await api("GET", `${path}/${alias.name}`);
      fill(moves, el("ol", { class: "plainlist" }, told.moves.map(moveLine)));
    } catch (problem) {
      asked = false;
      fill(moves, failedNote(problem));
    }
  };
  return el("details", { ontoggle: open }, el("summary", { class: "small" }, `History, ${counted(alias.n_moves, "move")}`), moves);
}

const moveLine = (move) =>
  el("li", { class: "row small" }, when(move.at), move.meta_learner_id ? el("a", { href: `#/learners/${move.meta_learner_id}` }, move.meta_learner_id) : "removed", move.note ? el("span", { class: "muted" }, move.note) : null);

function form(all, learner, path, refresh) {
  const [nameId, noteId, listId] = [newId("alias"), newId("note"), newId("names")];
  const name = el("input", { id: nameId, list: listId, maxlength: 100, pattern: NAME, required: true, autocomplete: "off", autocapitalize: "none", placeholder: "production", oninput: () => again() });
  const note = el("input", { id: noteId, maxlength: 1000, autocomplete: "off", placeholder: "better on ward 3" });
  const said = el("div", { "aria-live": "assertive" });
  const button = el("button", { type: "submit" }, "Point it here");
  const again = () => {
    fill(said);
    button.hidden = false;
  };
  const put = async (expected) => {
    const json = { meta_learner_id: learner.id, note: note.value.trim() || null, expected_meta_learner_id: expected };
    try {
      await api("PUT", `${path}/${name.value}`, { json });
      announce(`${name.value} points here`);
      await refresh();
    } catch (problem) {
      fill(said, failedNote(problem));
    }
  };
  const submit = async (event) => {
    event.preventDefault();
    if (!name.checkValidity()) return fill(said, el("p", { class: "note warn" }, "A name has lower-case letters, digits, dots, underscores and hyphens, and begins with a letter or digit."));
    const there = all.find((alias) => alias.name === name.value)?.meta_learner_id ?? null;
    if (there === null) return put(null);
    if (there === learner.id) return fill(said, el("p", { class: "note" }, `${name.value} points here already.`));
    const go = el("button", { type: "button", class: "main", onclick: () => put(there) }, "Move it here");
    button.hidden = true;
    fill(said, el("div", { class: "note warn row" }, el("span", {}, `${name.value} points at `, el("a", { href: `#/learners/${there}` }, there), ". Whoever asks by it will ask this one."), go));
    go.focus();
    return undefined;
  };
  return el(
    "form",
    { class: "stack", onsubmit: submit, novalidate: true, "aria-label": "Point an alias here" },
    el("div", { class: "field learner" }, el("label", { for: nameId }, "Name"), name, el("datalist", { id: listId }, all.map((alias) => el("option", { value: alias.name })))),
    el("div", { class: "field learner" }, el("label", { for: noteId }, "Why (may be empty)"), note),
    said,
    el("div", { class: "row" }, button),
  );
}
