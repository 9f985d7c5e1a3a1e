/** The pool's models: a gallery with filters. */

import { api, isAborted } from "../api.js";
import { announce, el, fill } from "../dom.js";
import { counted } from "../format.js";
import { icon } from "../icons.js";
import { modelCard } from "../pool/card.js";
import { asQuery, filterBar } from "../pool/filters.js";
import { remember } from "../router.js";
import { empty, failed, loading } from "../states.js";

export const title = "Pool";

const PAGE = 24;

/** @param {import("../router.js").Visit} visit */
export async function render({ query, signal }) {
  const { items: pools } = await api("GET", "/v1/pools", { signal });
  const wanted = Object.fromEntries(["q", "status", "backbone", "domain", "pool", "order"].map((name) => [name, query.get(name) ?? ""]));
  wanted.order ||= "newest";
  const gallery = el("div", { class: "gallery" });
  const below = el("div", { class: "row middle" });
  let search = new AbortController();
  const show = async () => {
    search.abort();
    search = new AbortController();
    remember({ ...wanted, order: wanted.order === "newest" ? "" : wanted.order });
    fill(below);
    fill(gallery, loading("models"));
    try {
      const found = await firstPage(wanted, search.signal);
      fill(gallery, found.items.length ? found.items.map(modelCard) : nothing(wanted, pools, clear));
      announce(found.items.length ? counted(found.items.length, "model") : "No models");
      fill(below, moreButton(found.next_cursor, wanted, gallery, below, signal));
    } catch (error) {
      if (!isAborted(error)) fill(gallery, failed(error, show));
    }
  };
  const bar = el("div");
  const wide = window.matchMedia("(min-width: 46rem)");
  const fold = el("details", { class: "fold-narrow", open: wide.matches || isFiltered(wanted) }, el("summary", {}, "Search and filters"), bar);
  wide.addEventListener("change", () => (fold.open ||= wide.matches), { signal }); // a turned tablet
  const drawBar = () => fill(bar, filterBar(/** @type {any} */ (wanted), pools.map(({ name }) => name), show));
  const clear = () => {
    for (const name of Object.keys(wanted)) wanted[name] = name === "order" ? "newest" : "";
    drawBar();
    show();
  };
  signal.addEventListener("abort", () => search.abort());
  drawBar();
  show();
  return el(
    "div",
    { class: "page" },
    el("div", { class: "head" }, el("div", {}, el("h1", {}, "Pool"), el("p", { class: "muted" }, census(pools))), el("div", { class: "row" }, el("a", { class: "button", href: "#/map" }, icon("map"), "Task map"), el("a", { class: "button main", href: "#/upload" }, icon("upload"), "Upload models"))),
    fold,
    gallery,
    below,
  );
}

/** With filters a page may be empty although another follows; ask on until something is there. */
async function firstPage(wanted, signal, cursor = "") {
  const asked = { ...asQuery(wanted), limit: PAGE, cursor };
  let found = await api("GET", "/v1/models", { query: asked, signal });
  while (!found.items.length && found.next_cursor) {
    found = await api("GET", "/v1/models", { query: { ...asked, cursor: found.next_cursor }, signal });
  }
  return found;
}

function moreButton(cursor, wanted, gallery, below, signal) {
  if (!cursor) return null;
  const button = el("button", { type: "button" }, "Show more");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const found = await firstPage(wanted, signal, cursor);
      const cards = found.items.map(modelCard);
      gallery.append(...cards);
      fill(below, moreButton(found.next_cursor, wanted, gallery, below, signal));
      cards[0]?.querySelector("a")?.focus();
    } catch (error) {
      if (!isAborted(error)) fill(below, failed(error, () => fill(below, moreButton(cursor, wanted, gallery, below, signal))));
    }
  });
  return button;
}

function census(pools) {
  const counts = pools.flatMap((pool) => Object.entries(pool.models));
  const live = counts.filter(([status]) => status !== "withdrawn").reduce((sum, [, n]) => sum + n, 0);
  const ready = counts.filter(([status]) => status === "ready").reduce((sum, [, n]) => sum + n, 0);
  const where = pools.length === 1 ? `in the pool “${pools[0].name}”` : `in ${counted(pools.length, "pool")}`;
  return `${counted(live, "model")} ${where}, ${ready} ready to learn from`;
}

const isFiltered = (wanted) => Object.entries(wanted).some(([name, value]) => name !== "order" && value);

function nothing(wanted, pools, clear) {
  if (isFiltered(wanted)) {
    return empty({ title: "No model is like that", text: "No model that you may see fits all filters.", actions: el("button", { type: "button", onclick: clear }, "Clear the filters") });
  }
  if (!pools.length) {
    return empty({ title: "You are in no pool yet", text: "An owner of a pool can take your organisation in." });
  }
  return empty({
    title: "The pool is empty",
    text: "Upload trained classifiers, yours or a partner’s. From two on, a meta-learner can be built.",
    actions: el("a", { class: "button main", href: "#/upload" }, icon("upload"), "Upload models"),
  });
}
