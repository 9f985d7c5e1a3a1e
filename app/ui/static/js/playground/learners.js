/** Which meta-learner is asked: a list to choose from, or its id where the key shows no list. */

import { Problem, api } from "../api.js";
import { el, newId } from "../dom.js";

/**
 * @typedef {{id: string, name: string, backbone: string, image_size: number, channels: number,
 *   status: string, pool: string}} Choice
 */

/**
 * The meta-learners that can be asked: the one that the address names, then the newest.
 * @param {string} wanted  an id, an alias, or nothing
 * @param {AbortSignal} signal
 * @returns {Promise<any[] | null>}  null if the key may not list them
 * @throws {Problem} the one that is named is not there
 */
export async function askable(wanted, signal) {
  try {
    const page = await api("GET", "/v1/meta-learners", { query: { limit: 100 }, signal });
    const found = page.items.filter((learner) => learner.status !== "retired");
    if (!wanted || found.some((learner) => learner.id === wanted)) return found;
    const named = await api("GET", `/v1/meta-learners/${encodeURIComponent(wanted)}`, { signal });
    return [named, ...found.filter((learner) => learner.id !== named.id)];
  } catch (error) {
    if (error instanceof Problem && error.status === 403) return null;
    throw error;
  }
}

/**
 * @param {any[]} learners
 * @param {string} chosen
 * @param {(id: string) => void} onchoose
 */
export function learnerSelect(learners, chosen, onchoose) {
  const id = newId("learner");
  const select = el(
    "select",
    { id, onchange: () => onchoose(select.value) },
    learners.map((learner) => el("option", { value: learner.id, selected: learner.id === chosen }, nameOf(learner))),
  );
  return el("div", { class: "field learner" }, el("label", { for: id }, "Meta-learner"), select);
}

/** @param {string} chosen @param {(id: string) => void} onchoose */
export function learnerField(chosen, onchoose) {
  const id = newId("learner");
  const input = el("input", { id, value: chosen, placeholder: "ml_…", autocomplete: "off", onchange: () => onchoose(input.value.trim()) });
  return el(
    "div",
    { class: "field learner" },
    el("label", { for: id }, "Meta-learner’s id"),
    input,
    el("p", { class: "hint" }, "This key may ask, but not list them."),
  );
}

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function nameOf(learner) {
  const tainted = learner.status === "tainted" ? ", learnt from a withdrawn model" : "";
  const names = learner.aliases.length ? `${learner.aliases.join(", ")} · ` : "";
  return `${names}${learner.pool} · ${learner.backbone}, ${learner.image_size} px · ${day.format(new Date(learner.created_at))}${tainted}`;
}
