/** Which page an address shows: `#/pool/mdl_1?tab=x` is the route `/pool/:id` with a query. */

/**
 * @typedef {object} Visit
 * @property {Record<string, string>} params  parts of the path, by name
 * @property {URLSearchParams} query
 * @property {AbortSignal} signal  aborted when the page is left: pass it to `api`
 *
 * @typedef {object} Page
 * @property {string} title
 * @property {(visit: Visit) => Promise<HTMLElement> | HTMLElement} render
 *
 * @typedef {{path: string, load: () => Promise<Page>}} Route
 */

/**
 * The route of an address, with its parameters.
 * @param {Route[]} routes
 * @param {string} hash
 * @returns {{route: Route, params: Record<string, string>, query: URLSearchParams} | null}
 */
export function match(routes, hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?");
  const given = path.split("/").filter(Boolean);
  for (const route of routes) {
    const wanted = route.path.split("/").filter(Boolean);
    if (wanted.length !== given.length) continue;
    const params = {};
    const fits = wanted.every((part, at) => {
      if (!part.startsWith(":")) return part === given[at];
      params[part.slice(1)] = decoded(given[at]);
      return true;
    });
    if (fits) return { route, params, query: new URLSearchParams(search) };
  }
  return null;
}

/** A part of an address; as it is where somebody mistyped its escapes. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Go to an address within these pages. @param {string} hash such as `#/pool` */
export function go(hash) {
  window.location.hash = hash;
}

/** Put a query into the address without visiting the page anew. @param {Record<string, string>} query */
export function remember(query) {
  const [path] = window.location.hash.split("?");
  const kept = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  history.replaceState(null, "", `${path || "#/"}${kept.size ? `?${kept}` : ""}`);
}
