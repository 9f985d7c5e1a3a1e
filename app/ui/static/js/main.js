/**
 * The shell: who is signed in, which page is shown, where one can go.
 *
 * Conventions of these pages
 * - A page is a module in `pages/` that exports `title` and `render(visit)`; `render` returns the
 *   page's element, or a promise of it. While it waits the shell shows bones; what it throws, the
 *   shell shows with a way to try again. Add it to ROUTES, and to NAV if people should find it.
 * - `visit.signal` is aborted when the page is left: pass it to `api`, and to `addEventListener`
 *   on anything that outlives the page.
 * - Elements are made by `el` (dom.js), never from markup. Colours, gaps and radii are the custom
 *   properties of css/base.css; a page's own style sheet holds only what no other page has.
 * - Every list has an `empty`, every wait a `loading`, every failure a `failed` (states.js).
 *   Numbers and times go through format.js.
 * - What changes without the reader doing it is said with `announce`.
 * - The key is api.js's alone. No page keeps anything in `localStorage`, a cookie or an address.
 */

import { Problem, session } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { match } from "./router.js";
import { failed, loading } from "./states.js";

/** @type {import("./router.js").Route[]} */
const ROUTES = [
  { path: "/", load: () => import("./pages/playground.js") },
  { path: "/playground", load: () => import("./pages/playground.js") },
  { path: "/pool", load: () => import("./pages/pool.js") },
  { path: "/pool/:id", load: () => import("./pages/model.js") },
  { path: "/map", load: () => import("./pages/map.js") },
  { path: "/upload", load: () => import("./pages/upload.js") },
  { path: "/builds", load: () => import("./pages/builds.js") },
  { path: "/builds/new", load: () => import("./pages/order.js") },
  { path: "/builds/:id", load: () => import("./pages/build.js") },
  { path: "/learners", load: () => import("./pages/learners.js") },
  { path: "/learners/:id", load: () => import("./pages/learner.js") },
  { path: "/access", load: () => import("./pages/keys.js") },
  { path: "/access/members", load: () => import("./pages/members.js") },
  { path: "/access/audit", load: () => import("./pages/audit.js") },
];

/** @type {{href: string, name: string, icon: string}[]} */
const NAV = [
  { href: "#/playground", name: "Playground", icon: "spark" },
  { href: "#/pool", name: "Pool", icon: "pool" },
  { href: "#/builds", name: "Builds", icon: "build" },
  { href: "#/learners", name: "Learners", icon: "learner" },
  { href: "#/access", name: "Access", icon: "key" },
];

/** Which entry of NAV a route belongs to, where its address does not say. */
const ABOVE = { "/": "playground", "/upload": "pool", "/map": "pool" };

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let leave = new AbortController();
let visits = 0;

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const first = visits === 0;
  visits += 1;
  drawFrame();
  const slow = setTimeout(() => fill(main, loading("the page")), 120);
  try {
    const page = await (session.isOpen ? visited(signal) : import("./pages/signin.js").then(rendered(signal)));
    if (!signal.aborted) put(page, first);
  } catch (error) {
    if (!(error instanceof Problem) && !signal.aborted) console.error(error);
    if (!signal.aborted) put({ title: "Failed", element: el("div", {}, failed(error, show)) }, first);
  } finally {
    clearTimeout(slow);
  }
}

async function visited(signal) {
  const found = match(ROUTES, window.location.hash || "#/");
  if (!found) return { title: "Not found", element: lost() };
  return rendered(signal, found)(await found.route.load());
}

function rendered(signal, found = { params: {}, query: new URLSearchParams() }) {
  return async (page) => ({
    title: page.title,
    element: await page.render({ params: found.params, query: found.query, signal }),
  });
}

function put({ title, element }, first) {
  document.title = `${title} · Modelpool`;
  fill(main, element);
  if (first) return;
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  announce(title);
}

function drawFrame() {
  const here = match(ROUTES, window.location.hash || "#/")?.route.path ?? "";
  const top = `#/${ABOVE[here] ?? here.split("/")[1] ?? ""}`;
  fill(
    /** @type {HTMLElement} */ (document.getElementById("nav")),
    session.isOpen &&
      NAV.map((page) =>
        el(
          "a",
          { href: page.href, "aria-current": page.href === top ? "page" : null },
          icon(page.icon),
          el("span", {}, page.name),
        ),
      ),
  );
  fill(
    /** @type {HTMLElement} */ (document.getElementById("who")),
    session.isOpen && el("button", { type: "button", class: "quiet", onclick: () => session.close() }, "Sign out"),
  );
}

function lost() {
  return el(
    "section",
    { class: "state" },
    el("h1", {}, "There is no such page"),
    el("p", {}, "The address may be mistyped, or of another release."),
    el("p", {}, el("a", { class: "button main", href: "#/" }, "To the playground")),
  );
}

window.addEventListener("hashchange", () => {
  if (window.location.hash !== "#main") show();
});
window.addEventListener("modelpool:closing", () => leave.abort());
window.addEventListener("modelpool:closed", show);
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // the address is the router's
  main.focus();
});
show();
