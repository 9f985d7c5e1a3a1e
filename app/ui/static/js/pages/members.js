/** A pool's members: which organisations belong to it, and what they may do there. */

import { accessHead } from "../access/tabs.js";
import { ROLES, memberForm, memberRow } from "../access/members.js";
import { api } from "../api.js";
import { el, fill, newId } from "../dom.js";
import { remember } from "../router.js";
import { empty, failed, loading } from "../states.js";

export const title = "Members";

export async function render({ query, signal }) {
  const [{ items: pools }, { organisation_id: own }] = await Promise.all([api("GET", "/v1/pools", { signal }), api("GET", "/v1/usage", { signal })]);
  const shown = el("div", {});
  const show = async (pool) => {
    remember({ pool: pools.length > 1 ? pool.name : "" });
    fill(shown, loading("the members"));
    try {
      const { items } = await api("GET", `/v1/pools/${pool.id}/members`, { signal });
      fill(shown, members(pool, items, own, () => show(pool)));
    } catch (problem) {
      if (!signal.aborted) fill(shown, failed(problem, () => show(pool)));
    }
  };
  const wanted = query.get("pool");
  const first = pools.find(({ id, name }) => [id, name].includes(wanted)) ?? pools[0];
  if (first) show(first);
  return el(
    "div",
    { class: "page" },
    accessHead("#/access/members", "Organisations that share a pool, each with its roles in it."),
    el("p", { class: "note" }, "Your organisation’s id, for owners of pools that shall take you in: ", el("code", {}, own)),
    pools.length > 1 && poolField(pools, first, show),
    first ? shown : empty({ title: "No pool yet", text: "Your organisation belongs to none. An owner of one can take it in by the id above." }),
  );
}

function poolField(pools, first, show) {
  const id = newId("pool");
  const select = el("select", { id, onchange: () => show(pools[select.selectedIndex]) }, pools.map((pool) => el("option", { selected: pool === first }, pool.name)));
  return el("div", { class: "field learner" }, el("label", { for: id }, "Pool"), select);
}

function members(pool, items, own, refresh) {
  const isOwner = pool.roles.includes("owner");
  const list = el("ul", { class: "lines" }, items.map((member) => memberRow(pool, member, { isOwner, isOwn: member.organisation_id === own, refresh })));
  return el("div", { class: "beside" }, list, isOwner ? memberForm(pool, refresh) : explained());
}

const explained = () =>
  el("section", { class: "card stack" }, el("h2", {}, "What the roles may do"), el("dl", { class: "roles" }, Object.entries(ROLES).map(([role, says]) => [el("dt", {}, role), el("dd", { class: "muted" }, says)])));
