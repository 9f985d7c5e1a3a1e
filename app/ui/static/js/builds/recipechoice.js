/** Which recipe a build follows, with which preset, and numbers of one's own. */

import { el, fill, newId } from "../dom.js";
import { RECIPES, changesOf, presetOf } from "./recipes.js";

const USUAL = "multi_teacher";

export class RecipeChoice {
  /**
   * @param {{algorithm: string, config: Record<string, unknown>} | null} like  of an earlier build
   * @param {() => void} onchange
   */
  constructor(like, onchange) {
    this.onchange = onchange;
    this.algorithm = like && RECIPES[like.algorithm] ? like.algorithm : USUAL;
    this.preset = like ? presetOf(like) : RECIPES[this.algorithm].presets[0].id;
    this.presets = el("div", { class: "stack" });
    this.element = this.fieldset();
    this.numbers = this.numbersField(like ? changesOf(like) : {});
    this.drawPresets();
  }

  /** The recipe as an order says it; nothing where the numbers are no JSON object. */
  value() {
    const changes = parsed(this.text?.value ?? "");
    return changes && { algorithm: this.algorithm, config: { preset: this.preset, ...changes } };
  }

  fieldset() {
    const group = newId("recipe");
    const choices = Object.entries(RECIPES).map(([id, recipe]) =>
      el(
        "label",
        { class: "choice" },
        el("input", { type: "radio", name: group, value: id, checked: id === this.algorithm, onchange: () => this.choose(id) }),
        el("span", {}, el("strong", {}, recipe.name), " ", el("code", {}, id), " ", id === USUAL && el("span", { class: "tag" }, "usual"), el("span", { class: "small muted" }, `${recipe.says} ${recipe.suits}`)),
      ),
    );
    return el("fieldset", { class: "card stack" }, el("legend", {}, "Recipe"), el("div", { class: "choices" }, choices), this.presets);
  }

  choose(algorithm) {
    this.algorithm = algorithm;
    this.preset = RECIPES[algorithm].presets[0].id;
    this.drawPresets();
    this.onchange();
  }

  drawPresets() {
    const { presets } = RECIPES[this.algorithm];
    if (presets.length === 1) {
      fill(this.presets);
      return;
    }
    const id = newId("preset");
    const says = el("p", { class: "hint" });
    const tell = () => (says.textContent = presets.find((each) => each.id === this.preset)?.says ?? "");
    const changed = () => {
      this.preset = select.value;
      tell();
      this.onchange();
    };
    const select = el("select", { id, onchange: changed }, presets.map((each) => el("option", { value: each.id, selected: each.id === this.preset }, each.id.replaceAll("_", " "))));
    tell();
    fill(this.presets, el("div", { class: "field" }, el("label", { for: id }, "Preset"), select, says));
  }

  numbersField(changes) {
    const id = newId("numbers");
    this.text = el("textarea", { id, rows: 3, spellcheck: "false", placeholder: "{\"steps\": 500}", oninput: () => this.onchange() });
    if (Object.keys(changes).length) this.text.value = JSON.stringify(changes, null, 2);
    return el(
      "div",
      { class: "field" },
      el("label", { for: id }, "Numbers of your own (JSON)"),
      this.text,
      el("p", { class: "hint" }, "What they replace of the preset’s; a name or a value that cannot be used is refused with the reason."),
    );
  }
}

function parsed(text) {
  if (!text.trim()) return {};
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
