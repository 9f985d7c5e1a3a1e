/** The organisation's API keys: made here, shown once, renewed and revoked. */

import { keyForm } from "../access/keyform.js";
import { secretNote } from "../access/secret.js";
import { accessHead } from "../access/tabs.js";
import { api, newIdempotencyKey } from "../api.js";
import { confirmed } from "../confirming.js";
import { announce, el, fill } from "../dom.js";
import { when } from "../format.js";
import { failedNote } from "../states.js";

export const title = "Keys";

const OVERLAPS = { 0: "the old one ends now", 3600: "the old one for another hour", 86400: "the old one for another day", 604800: "the old one for another week" };

export async function render({ signal }) {
  const { items } = await api("GET", "/v1/keys", { signal });
  const shown = el("div", {});
  const list = el("ul", { class: "lines" });
  // What an answer says is put into the list as it is. Asking for the list anew would fail where
  // the key that was changed is the one that asks, and sign out before its secret is read.
  const show = (made) => fill(shown, secretNote(made, () => fill(shown)));
  list.append(...items.sort(byUse).map((key) => row(key, show)));
  const onmade = (made) => {
    list.prepend(row(made, show));
    show(made);
  };
  return el(
    "div",
    { class: "page" },
    accessHead("#/access", "Keys speak for your organisation. The server keeps none, only what it needs to recognise them."),
    shown,
    el("div", { class: "beside" }, el("div", { class: "stack" }, list), keyForm(onmade)),
  );
}

const byUse = (a, b) => Number(hasEnded(a)) - Number(hasEnded(b)) || (a.created_at < b.created_at ? 1 : -1);

const hasEnded = (key) => key.revoked_at !== null || isPast(key.expires_at);

const isPast = (moment) => moment !== null && Date.parse(moment) <= Date.now();

function row(key, onsecret) {
  const item = el("li", { class: "card line" });
  const draw = (now) => fill(item, parts(now), hasEnded(now) ? null : actions(now, draw, onsecret));
  draw(key);
  return item;
}

function parts(key) {
  const overlaps = key.previous_until !== null && !isPast(key.previous_until);
  return el(
    "div",
    { class: "stack tight" },
    el("span", { class: "row" }, el("strong", { class: "name" }, key.name), standing(key)),
    el("span", { class: "small" }, key.scopes.map((scope, at) => [at > 0 && ", ", el("code", {}, scope)])),
    el("span", { class: "small muted" }, "Made ", when(key.created_at), key.expires_at && !key.revoked_at ? [isPast(key.expires_at) ? ", ended " : ", ends ", when(key.expires_at)] : null, key.revoked_at && [", revoked ", when(key.revoked_at)]),
    overlaps && el("span", { class: "small muted" }, "Its former secret is valid, too, until ", when(key.previous_until)),
  );
}

function standing(key) {
  if (key.revoked_at) return el("span", { class: "tag bad" }, "revoked");
  return isPast(key.expires_at) ? el("span", { class: "tag warn" }, "expired") : el("span", { class: "tag good" }, "valid");
}

function actions(key, draw, onsecret) {
  return el("div", { class: "row" }, renewing(key, draw, onsecret), revoking(key, draw));
}

function renewing(key, draw, onsecret) {
  const overlap = el("select", { "aria-label": `When ${key.name} gets a new secret` }, Object.entries(OVERLAPS).map(([seconds, text]) => el("option", { value: seconds }, text)));
  const trouble = el("div", { "aria-live": "assertive" });
  const renew = async () => {
    try {
      const made = await api("POST", `/v1/keys/${key.id}/rotate`, { json: { overlap_s: Number(overlap.value) }, headers: { "Idempotency-Key": newIdempotencyKey() } });
      draw(made);
      onsecret(made);
    } catch (problem) {
      fill(trouble, failedNote(problem));
    }
  };
  const fields = el("div", { class: "row" }, overlap, el("button", { type: "button", class: "main", onclick: renew }, "Give it a new secret"), trouble);
  return el("details", { class: "renew" }, el("summary", { class: "button", "aria-label": `Renew ${key.name}` }, "Renew"), fields);
}

function revoking(key, draw) {
  return confirmed({
    text: "Revoke",
    label: `Revoke ${key.name}`,
    question: "It ends at once, also here if it is the key that you signed in with.",
    yes: "Revoke it",
    act: async () => {
      draw(await api("DELETE", `/v1/keys/${key.id}`));
      announce(`${key.name} is revoked`);
    },
  });
}
