/** A member of a pool, and the form that takes another one in. */

import { api } from "../api.js";
import { confirmed } from "../confirming.js";
import { announce, el, fill, newId } from "../dom.js";
import { when } from "../format.js";
import { go } from "../router.js";
import { failedNote } from "../states.js";

/** @type {Record<string, string>} */
export const ROLES = {
  owner: "everything, members included",
  curator: "sees every model in full, withdraws any",
  contributor: "adds models of its own",
  builder: "builds over all ready models, takes meta-learners along",
  consumer: "asks meta-learners",
  auditor: "reads what happened, changes nothing",
};

const pathOf = (pool, organisationId) => `/v1/pools/${pool.id}/members/${encodeURIComponent(organisationId)}`;

/**
 * @param {any} pool
 * @param {any} member
 * @param {{isOwner: boolean, isOwn: boolean, refresh: () => void}} about
 */
export function memberRow(pool, member, { isOwner, isOwn, refresh }) {
  return el(
    "li",
    { class: "card line" },
    el(
      "div",
      { class: "stack tight" },
      el("span", { class: "row" }, el("strong", { class: "name" }, member.organisation), isOwn && el("span", { class: "tag busy" }, "yours")),
      el("span", { class: "row tight" }, member.roles.map((role) => el("span", { class: "tag" }, role))),
      el("span", { class: "small muted" }, el("code", {}, member.organisation_id), " since ", when(member.since)),
    ),
    el("div", { class: "row" }, isOwner && changing(pool, member, refresh), (isOwner || isOwn) && removing(pool, member, { isOwn, refresh })),
  );
}

function changing(pool, member, refresh) {
  const roles = roleBoxes(member.roles);
  const trouble = el("div", { "aria-live": "assertive" });
  const save = async () => {
    try {
      await api("PUT", pathOf(pool, member.organisation_id), { json: { roles: roles.chosen() } });
      announce("Saved");
      refresh();
    } catch (problem) {
      fill(trouble, failedNote(problem));
    }
  };
  return el("details", { class: "renew" }, el("summary", { class: "button", "aria-label": `Change the roles of ${member.organisation}` }, "Roles"), el("div", { class: "stack" }, roles.element, trouble, el("button", { type: "button", class: "main", onclick: save }, "Save")));
}

function removing(pool, member, { isOwn, refresh }) {
  return confirmed({
    text: isOwn ? "Leave" : "Remove",
    label: isOwn ? `Leave ${pool.name}` : `Remove ${member.organisation}`,
    question: isOwn ? "Your models stay in the pool until you or a curator withdraw them." : "Its models stay in the pool until it or a curator withdraws them.",
    yes: isOwn ? "Leave the pool" : "Remove it",
    no: "No",
    act: async () => {
      await api("DELETE", pathOf(pool, member.organisation_id));
      if (isOwn) go("#/pool");
      else refresh();
    },
  });
}

function roleBoxes(held) {
  const boxes = Object.entries(ROLES).map(([role, says]) => {
    const input = el("input", { type: "checkbox", value: role, checked: held.includes(role) });
    return { role, input, label: el("label", { class: "check" }, input, el("span", {}, role, el("span", { class: "small muted" }, says))) };
  });
  return { element: el("div", { class: "stack tight scopes" }, boxes.map(({ label }) => label)), chosen: () => boxes.filter(({ input }) => input.checked).map(({ role }) => role) };
}

/** @param {any} pool @param {() => void} refresh */
export function memberForm(pool, refresh) {
  const id = newId("organisation");
  const organisation = el("input", { id, autocomplete: "off", spellcheck: "false", placeholder: "org_…" });
  const roles = roleBoxes(["contributor", "consumer"]);
  const trouble = el("div", { "aria-live": "assertive" });
  const submit = async (event) => {
    event.preventDefault();
    const given = organisation.value.trim();
    if (!given) return fill(trouble, el("p", { class: "note warn" }, "Enter the organisation’s id; it finds it on this page of its own."));
    try {
      await api("PUT", pathOf(pool, given), { json: { roles: roles.chosen() } });
      announce("Taken in");
      refresh();
    } catch (problem) {
      fill(trouble, failedNote(problem));
    }
  };
  return el(
    "form",
    { class: "card stack", onsubmit: submit, novalidate: true, "aria-label": "Take an organisation in" },
    el("h2", {}, "Take an organisation in"),
    el("div", { class: "field" }, el("label", { for: id }, "Its id"), organisation),
    roles.element,
    trouble,
    el("button", { type: "submit", class: "main" }, "Take it in"),
  );
}
