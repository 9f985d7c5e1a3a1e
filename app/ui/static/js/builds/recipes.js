/** The recipes there are, in the words a person chooses by; docs/algorithms has the rest. */

/**
 * @typedef {{id: string, says: string}} Preset
 * @typedef {object} Recipe
 * @property {string} name
 * @property {string} says   what it does
 * @property {string} suits  when to choose it
 * @property {Preset[]} presets  the first is taken unless another is chosen
 * @property {string[]} stages   in the order in which a build goes through them
 */

/** @type {Record<string, Recipe>} */
export const RECIPES = {
  multi_teacher: {
    name: "One network from all models",
    says: "One network learns the answers of all models on pictures drawn by chance.",
    suits: "The best single network: as fast to ask as one model, and it can be taken along.",
    presets: [
      { id: "small", says: "for pools of up to a hundred models and more; the default" },
      { id: "tiny", says: "for a dozen models of small images, or to see how it goes" },
    ],
    stages: ["draw and refine images", "ask the teachers", "find principal axes", "distil", "measure BatchNorm", "report"],
  },
  ensemble: {
    name: "The models themselves",
    says: "Keeps the models; each request asks the ten that suit its images best.",
    suits: "Ready soonest and most accurate. Ten networks’ time a request, and it stays on this server.",
    presets: [{ id: "all", says: "keeps up to 128 models" }],
    stages: ["collect the teachers", "report"],
  },
  free: {
    name: "FREE (CVPR 2024)",
    says: "Recovers each model’s task, and trains a learner where their gradients agree.",
    suits: "For comparison with the literature.",
    presets: [
      { id: "small", says: "made for a hundred models of small images" },
      { id: "tiny", says: "for a dozen models of small images" },
      { id: "paper", says: "the numbers of the paper; takes long" },
      { id: "published_code", says: "the paper’s published code, with its faults; takes long" },
    ],
    stages: ["warm-up", "recover, align, replay", "report"],
  },
};

/** Stages that come between others now and then, and what they belong to. */
export const PART_OF = { "refresh memory": "recover, align, replay" };

/** What the server starts from where a recipe names no preset. */
const SERVERS_OWN = { multi_teacher: "small", ensemble: "all", free: "paper" };

/** @param {{algorithm: string, config: Record<string, unknown>}} recipe */
export function presetOf({ algorithm, config }) {
  return String(config.preset ?? SERVERS_OWN[algorithm] ?? "");
}

/** The numbers that a recipe changes. @param {{config: Record<string, unknown>}} recipe */
export function changesOf({ config }) {
  return Object.fromEntries(Object.entries(config).filter(([name]) => name !== "preset"));
}

/** "multi_teacher · small", with a mark where numbers were changed. */
export function recipeName(recipe) {
  const changed = Object.keys(changesOf(recipe)).length;
  const preset = presetOf(recipe);
  return [recipe.algorithm, preset !== "all" && preset, changed > 0 && "changed"].filter(Boolean).join(" · ");
}
