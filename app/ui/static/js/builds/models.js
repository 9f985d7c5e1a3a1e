/** Which of a pool's models a build learns from: all that are ready, or some. */

import { el, fill, newId } from "../dom.js";
import { count, counted } from "../format.js";
import { allOf } from "../lists.js";
import { failedNote, loading } from "../states.js";

const DRAWN = 1000; // of a larger pool the seed draws so many

export class ModelChoice {
  /**
   * @param {any} pool  as the API lists it
   * @param {{chosen: string[] | null, signal: AbortSignal, onchange: () => void}} options
   *   `chosen`: ids of an earlier build's; null is all that are ready
   */
  constructor(pool, { chosen, signal, onchange }) {
    this.pool = pool;
    this.signal = signal;
    this.onchange = onchange;
    /** @type {Set<string> | null} */
    this.chosen = chosen && new Set(chosen);
    this.wanted = this.chosen;
    this.list = el("div", {});
    this.element = this.fieldset();
    if (this.chosen) this.show();
  }

  get ready() {
    return this.pool.models.ready ?? 0;
  }

  /** How many models the build would learn from. */
  get count() {
    return this.chosen ? this.chosen.size : Math.min(this.ready, DRAWN);
  }

  /** As an order says it: null is all. */
  ids() {
    return this.chosen ? [...this.chosen] : null;
  }

  fieldset() {
    const group = newId("models");
    const radio = (isAll, text) =>
      el("label", { class: "check" }, el("input", { type: "radio", name: group, checked: isAll === (this.chosen === null), onchange: () => this.change(isAll) }), text);
    if (!this.ready) return el("fieldset", { class: "card stack" }, el("legend", {}, "Models"), el("p", { class: "note" }, `No model of ${this.pool.name} is ready. Two make a build worthwhile: `, el("a", { href: "#/upload" }, "upload models"), "."));
    const many = this.ready > DRAWN ? `${count(DRAWN)} of the ${count(this.ready)} that are ready, drawn by the seed` : `All ${counted(this.ready, "ready model")} of the pool`;
    return el("fieldset", { class: "card stack" }, el("legend", {}, "Models"), el("div", { class: "row" }, radio(true, many), radio(false, "Choose them")), this.list);
  }

  change(isAll) {
    this.chosen = isAll ? null : (this.wanted ?? new Set());
    this.isFresh = !this.wanted;
    if (isAll) fill(this.list);
    else this.show();
    this.onchange();
  }

  async show() {
    fill(this.list, loading("the models", 1));
    try {
      const { items, whole } = await allOf("/v1/models", { query: { pool: this.pool.id, status: "ready", order: "name" }, signal: this.signal });
      if (this.chosen) this.draw(items, whole);
    } catch (problem) {
      if (!this.signal.aborted) fill(this.list, failedNote(problem));
    }
  }

  draw(models, whole) {
    const there = new Set(models.map(({ id }) => id));
    if (this.isFresh) this.wanted = this.chosen = new Set(there);
    this.isFresh = false;
    const gone = [...this.chosen].filter((id) => !there.has(id)).length;
    if (whole) this.wanted = this.chosen = new Set([...this.chosen].filter((id) => there.has(id)));
    const tally = el("span", { class: "small muted figures", role: "status" });
    const tell = () => {
      tally.textContent = `${count(this.chosen.size)} of ${count(models.length)} chosen`;
      this.onchange();
    };
    const boxes = models.map((model) => this.box(model, tell));
    const all = (checked) => {
      this.wanted = this.chosen = new Set(checked ? there : []);
      for (const { input } of boxes) input.checked = checked;
      tell();
    };
    fill(
      this.list,
      whole && gone > 0 && el("p", { class: "note warn" }, `${counted(gone, "model")} of that build ${gone === 1 ? "is" : "are"} no longer ready, or not shown to you, and left out.`),
      !whole && el("p", { class: "note" }, `The pool has more than these ${count(models.length)}; others are chosen by their ids through the API.`),
      el("div", { class: "row" }, tally, el("button", { type: "button", class: "quiet", onclick: () => all(true) }, "All"), el("button", { type: "button", class: "quiet", onclick: () => all(false) }, "None")),
      el("div", { class: "ticks" }, boxes.map(({ label }) => label)),
    );
    tell();
  }

  box(model, tell) {
    const changed = () => {
      if (input.checked) this.chosen.add(model.id);
      else this.chosen.delete(model.id);
      tell();
    };
    const input = el("input", { type: "checkbox", checked: this.chosen.has(model.id), onchange: changed });
    const label = el("label", { class: "check" }, input, el("span", {}, model.name, el("span", { class: "small muted" }, [model.backbone, `${model.image_size} px`, model.domain].filter(Boolean).join(" · "))));
    return { input, label };
  }
}
