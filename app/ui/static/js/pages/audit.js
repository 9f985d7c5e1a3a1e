/** What happened in the pools that one audits, and to one's own keys. */

import { accessHead } from "../access/tabs.js";
import { api } from "../api.js";
import { el, fill, newId } from "../dom.js";
import { when } from "../format.js";
import { growingList } from "../lists.js";
import { remember } from "../router.js";
import { empty, failed, loading } from "../states.js";

export const title = "Audit";

const PAGES = { mdl: "pool", bld: "builds", ml: "learners" };

export async function render({ query, signal }) {
  const [pools, { organisation_id: own }] = await Promise.all([poolsToChoose(signal), api("GET", "/v1/usage", { signal })]);
  const shown = el("div", { class: "stack" });
  const show = async (pool) => {
    remember({ pool });
    fill(shown, loading("what happened"));
    try {
      const list = await growingList({ path: "/v1/audit", query: { pool }, signal, row: (event) => eventRow(event, own), none });
      fill(shown, list.element);
    } catch (problem) {
      if (!signal.aborted) fill(shown, failed(problem, () => show(pool)));
    }
  };
  const first = query.get("pool") ?? "";
  show(first);
  return el(
    "div",
    { class: "page" },
    accessHead("#/access/audit", "A chain of events: each holds the checksum of the one before, so that none can be changed unseen."),
    pools.length > 0 && poolField(pools, first, show),
    shown,
  );
}

/** Nothing to choose from where the key does not list pools. */
async function poolsToChoose(signal) {
  try {
    const { items } = await api("GET", "/v1/pools", { signal });
    return items.filter(({ roles }) => roles.includes("owner") || roles.includes("auditor"));
  } catch (problem) {
    if (problem.status === 403) return [];
    throw problem;
  }
}

function poolField(pools, first, show) {
  const id = newId("pool");
  const select = el(
    "select",
    { id, onchange: () => show(select.value) },
    el("option", { value: "" }, "All that you audit, and your keys"),
    pools.map((pool) => el("option", { value: pool.id, selected: [pool.id, pool.name].includes(first) }, pool.name)),
  );
  return el("div", { class: "field learner" }, el("label", { for: id }, "Pool"), select);
}

function eventRow(event, own) {
  return el(
    "li",
    { class: "card line event" },
    el(
      "div",
      { class: "stack tight" },
      el("span", { class: "row" }, el("strong", {}, named(event.action)), object(event.object_id), event.detail && detail(event.detail)),
      el("span", { class: "small muted" }, actor(event, own), event.request_id && [", request ", el("code", {}, event.request_id)]),
    ),
    el("span", { class: "small muted figures" }, when(event.at)),
    el("span", { class: "small muted figures", title: `SHA-256 ${event.sha256}` }, `no. ${event.seq}`),
  );
}

const named = (action) => action[0].toUpperCase() + action.slice(1).replaceAll("-", " ").replace("eta learner", "eta-learner");

function detail(text) {
  const isSum = /^[0-9a-f]{64}$/.test(text);
  return el("span", { class: "small muted", title: isSum ? text : null }, isSum ? `SHA-256 ${text.slice(0, 12)}…` : text);
}

function object(id) {
  const page = PAGES[id.split("_")[0]];
  return page ? el("a", { href: `#/${page}/${encodeURIComponent(id)}` }, el("code", {}, id)) : el("code", {}, id);
}

function actor({ organisation_id: organisation, key_id: key }, own) {
  const who = organisation === own ? "your organisation" : (organisation ?? "no organisation");
  return [key ? "by " : "by the server or its operator, of ", who, key && [", key ", el("code", {}, key)]];
}

const none = () => empty({ title: "Nothing on record", text: "Uploads, builds, exports, keys and members are recorded here as they come." });
