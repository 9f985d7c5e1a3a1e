/** How long a build will take: what builds of the same kind took here, and nothing else. */

import { counted, duration } from "../format.js";
import { changesOf, presetOf } from "./recipes.js";

const ALIKE = 0.25; // a count of models this much off is still called alike

/**
 * @param {any[]} earlier  builds as the API lists them
 * @param {{algorithm: string, config: Record<string, unknown>}} recipe
 * @param {number} nModels
 * @returns {string} a sentence
 */
export function estimate(earlier, recipe, nModels) {
  const same = earlier.filter((build) => build.status === "succeeded" && build.started_at && kindOf(build.recipe) === kindOf(recipe));
  if (!same.length) return "No build of this kind has run here yet, so there is no estimate. Once it runs, it tells how long it has left.";
  const alike = same.filter((build) => Math.abs(build.n_models - nModels) <= ALIKE * nModels);
  if (alike.length) return `${span(alike.map(seconds))}: so long took ${counted(alike.length, "build")} of this kind over about as many models here.`;
  const [nearest] = same.sort((a, b) => Math.abs(a.n_models - nModels) - Math.abs(b.n_models - nModels));
  return `The nearest build of this kind took ${duration(seconds(nearest))} over ${counted(nearest.n_models, "model")}; you chose ${counted(nModels, "model")}.`;
}

/** How long a build that has ended took, from its first start. @param {any} build @returns {number} */
export const seconds = (build) => (Date.parse(build.finished_at) - Date.parse(build.started_at)) / 1000;

function span(all) {
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const [first, last] = [duration(least), duration(most)];
  return first === last ? `About ${first}` : `${first} to ${last}`;
}

const kindOf = (recipe) =>
  JSON.stringify([recipe.algorithm, presetOf(recipe), Object.entries(changesOf(recipe)).sort(([a], [b]) => (a < b ? -1 : 1))]);
