/** An order for a build: which pool, which models, which recipe, and how long it may take. */

import { api, newIdempotencyKey } from "../api.js";
import { estimate } from "../builds/estimate.js";
import { Examination } from "../builds/examination.js";
import { ModelChoice } from "../builds/models.js";
import { RecipeChoice } from "../builds/recipechoice.js";
import { recipeName } from "../builds/recipes.js";
import { el, fill, newId } from "../dom.js";
import { counted } from "../format.js";
import { icon } from "../icons.js";
import { allOf } from "../lists.js";
import { go } from "../router.js";
import { empty, failedNote } from "../states.js";

export const title = "Order a build";

export async function render({ query, signal }) {
  const like = query.get("from");
  const [{ items: pools }, earlier, copied] = await Promise.all([
    api("GET", "/v1/pools", { signal }),
    allOf("/v1/builds", { signal, pages: 2 }),
    like ? copyOf(like, signal) : null,
  ]);
  const open = pools.filter(({ roles }) => roles.includes("owner") || roles.includes("builder"));
  if (!open.length) return nowhere(pools.length > 0);
  return new Order(open, earlier.items, copied, { pool: query.get("pool") ?? "", signal }).element;
}

/** What an earlier build was ordered with; its models are known where it delivered. */
async function copyOf(id, signal) {
  const build = await api("GET", `/v1/builds/${encodeURIComponent(id)}`, { signal });
  const learner = build.meta_learner_id && (await api("GET", `/v1/meta-learners/${build.meta_learner_id}`, { signal }));
  return { build, modelIds: learner ? learner.model_ids : null };
}

function nowhere(isMember) {
  return el(
    "div",
    { class: "page" },
    el("h1", {}, "Order a build"),
    empty({
      title: isMember ? "No pool in which you may build" : "No pool yet",
      text: isMember ? "Building takes the role of a builder or an owner; a pool’s owner can give it to your organisation." : "Your organisation belongs to no pool. Make one, or ask a pool’s owner to take you in.",
      actions: el("a", { class: "button", href: "#/builds" }, "Back to the builds"),
    }),
  );
}

class Order {
  constructor(pools, earlier, copied, { pool, signal }) {
    this.earlier = earlier;
    this.signal = signal;
    const wanted = copied?.build.pool ?? pool;
    this.pools = pools;
    this.pool = pools.find(({ id, name }) => [id, name].includes(wanted)) ?? pools[0];
    this.recipe = new RecipeChoice(copied?.build.recipe ?? null, () => this.tell());
    this.models = new ModelChoice(this.pool, { chosen: copied?.modelIds ?? null, signal, onchange: () => this.tell() });
    this.examination = new Examination(signal);
    this.seed = el("input", { id: newId("seed"), type: "number", min: 0, max: 2 ** 31 - 1, step: 1, inputmode: "numeric", placeholder: "drawn by the server" });
    this.expected = el("p", { "aria-live": "polite" });
    this.trouble = el("div", { "aria-live": "assertive" });
    this.send = el("button", { type: "submit", class: "main" }, "Order the build");
    this.element = this.page(copied);
    this.tell();
  }

  page(copied) {
    return el(
      "form",
      { class: "page order", onsubmit: (event) => this.submit(event), novalidate: true },
      el(
        "div",
        {},
        el("p", {}, el("a", { href: "#/builds", class: "row tight" }, icon("back", 18), "Builds")),
        el("h1", {}, "Order a build"),
        el("p", { class: "muted" }, copied ? `Filled in like the build ${recipeName(copied.build.recipe)}; with the same seed, ${copied.build.seed}, and the same models it gives the same result.` : "What is chosen here does for most pools; change what you like."),
        copied && copied.modelIds === null && el("p", { class: "note" }, `That build delivered nothing, so its ${counted(copied.build.n_models, "model")} are not on record: all that are ready are chosen instead.`),
      ),
      el(
        "div",
        { class: "beside" },
        el("div", { class: "stack" }, this.poolField(), this.models.element, this.recipe.element, this.examination.element, this.more()),
        el("section", { class: "card stack", "aria-label": "Order" }, el("h2", {}, "How long it may take"), this.expected, this.trouble, this.send),
      ),
    );
  }

  more() {
    return el(
      "details",
      { class: "card more" },
      el("summary", {}, "More: seed, numbers of your own"),
      el(
        "div",
        { class: "stack" },
        el("div", { class: "field" }, el("label", { for: this.seed.id }, "Seed"), this.seed, el("p", { class: "hint" }, "Same seed, same models, same recipe: the same result.")),
        this.recipe.numbers,
      ),
    );
  }

  poolField() {
    const id = newId("pool");
    const select = el(
      "select",
      { id, onchange: () => this.choosePool(this.pools[select.selectedIndex]) },
      this.pools.map((pool) => el("option", { value: pool.id, selected: pool === this.pool }, `${pool.name} (${counted(pool.models.ready ?? 0, "ready model")})`)),
    );
    return el("div", { class: "card field" }, el("label", { for: id }, "Pool"), select);
  }

  choosePool(pool) {
    this.pool = pool;
    const before = this.models;
    this.models = new ModelChoice(pool, { chosen: null, signal: this.signal, onchange: () => this.tell() });
    before.element.replaceWith(this.models.element);
    this.tell();
  }

  tell() {
    if (!this.expected) return; // still being made
    const recipe = this.recipe.value();
    this.send.disabled = this.models.count < 1;
    this.expected.textContent = !this.models.count
      ? "Nothing to learn from yet."
      : recipe
        ? estimate(this.earlier, recipe, this.models.count)
        : "The numbers are no JSON object; see under More.";
  }

  async submit(event) {
    event.preventDefault();
    const recipe = this.recipe.value();
    if (!recipe) return fill(this.trouble, el("p", { class: "note bad" }, "The numbers of your own, under More, are no JSON object such as {\"steps\": 500}."));
    const order = { pool: this.pool.id, recipe, models: this.models.ids(), seed: this.seed.value === "" ? null : Number(this.seed.value) };
    const trouble = this.examination.trouble();
    if (trouble) return fill(this.trouble, el("p", { class: "note bad", role: "alert" }, trouble));
    this.send.disabled = true;
    this.key ??= newIdempotencyKey();
    try {
      const build = await api("POST", "/v1/builds", { ...this.examination.bodyOf(order), headers: { "Idempotency-Key": this.key }, signal: this.signal });
      go(`#/builds/${build.id}`);
    } catch (problem) {
      if (this.signal.aborted) return;
      if (problem.status) this.key = null; // answered: the next order is another one
      fill(this.trouble, failedNote(problem));
      this.send.disabled = false;
    }
  }
}
