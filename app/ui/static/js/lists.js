/** Lists that come in pages, longer at a button. */

import { api } from "./api.js";
import { announce, el, fill } from "./dom.js";
import { failedNote } from "./states.js";

/**
 * The first page of a list and a button for the next ones.
 * @param {{path: string, query?: Record<string, string>, signal: AbortSignal, limit?: number,
 *   row: (item: any) => HTMLElement, none: () => HTMLElement, kind?: string, holder?: HTMLElement}} wanted
 *   `row` makes an item's element, `none` what is shown where there are none
 * @returns {Promise<{element: HTMLElement, isEmpty: boolean}>}
 */
export async function growingList({ path, query = {}, signal, limit = 50, row, none, holder }) {
  const list = holder ?? el("ul", { class: "lines" });
  const more = el("div", { class: "row middle" });
  const next = async (cursor) => {
    const page = await api("GET", path, { query: { ...query, limit, cursor }, signal });
    list.append(...page.items.map(row));
    fill(more, page.next_cursor && button(page.next_cursor));
    return page.items.length;
  };
  const button = (cursor) => {
    const pressed = async () => {
      try {
        announce(`${await next(cursor)} more`);
      } catch (problem) {
        if (!signal.aborted) fill(more, failedNote(problem), button(cursor));
      }
    };
    return el("button", { type: "button", onclick: pressed }, "Show more");
  };
  const first = await next(null);
  const isEmpty = first === 0 && !more.hasChildNodes();
  return { element: isEmpty ? none() : el("div", { class: "stack" }, list, more), isEmpty };
}

/**
 * All items of a list, up to a number of pages.
 * @param {string} path
 * @param {{query?: Record<string, string>, signal: AbortSignal, pages?: number}} asked
 * @returns {Promise<{items: any[], whole: boolean}>}
 */
export async function allOf(path, { query = {}, signal, pages = 10 }) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < pages; page += 1) {
    const answer = await api("GET", path, { query: { ...query, limit: 200, cursor }, signal });
    items.push(...answer.items);
    cursor = answer.next_cursor;
    if (!cursor) return { items, whole: true };
  }
  return { items, whole: false };
}
