/**
 * Adapt once, ask often: what is shown to the server and what it answered, without any element.
 *
 * A change of the support set makes an adaptation anew and asks all queries again. Another replica
 * of the server does not know the adaptation; then a query goes in one request with its support set.
 */

import { Problem, api, isAborted } from "../api.js";

const SETTLE_MS = 400;
const AT_A_TIME = 25;

/**
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {{label: string, picture: Picture}} Shown
 * @typedef {object} Question
 * @property {Picture} picture
 * @property {"waiting" | "asking" | "answered" | "failed"} state
 * @property {any} [answer]  a prediction of the API
 * @property {Shown | null} [nearest]  the support image it is most like
 * @property {number} [msHere]  from sending to reading the answer
 * @property {number} [msThere]  on the server
 * @property {number} [together]  queries in the same request
 * @property {Problem} [problem]
 */

/** Dispatches `change` whenever something of it has changed. */
export class Conversation extends EventTarget {
  /** @type {"incomplete" | "adapting" | "ready" | "failed"} */
  phase = "incomplete";
  /** @type {any} what the support set lets expect */
  outlook = null;
  /** @type {any} from which probability on queries are answered */
  abstention = null;
  /** @type {Problem | null} */
  problem = null;
  /** @type {Question[]} */
  questions = [];
  /** @type {number | null} the share of queries to answer */
  coverage = null;
  /** @type {Shown[]} */
  #support = [];
  #adaptationId = "";
  #settling = 0;
  #work = new AbortController();
  #isAsking = false;

  /** @param {string} learnerId */
  constructor(learnerId) {
    super();
    this.learnerId = learnerId;
  }

  /** Whom to ask. @param {string} learnerId */
  setLearner(learnerId) {
    this.learnerId = learnerId;
    this.setSupport(this.#support);
  }

  /** @param {Shown[]} support in the order it is sent; empty while it is not complete */
  setSupport(support) {
    this.#drop();
    this.#support = support;
    this.outlook = this.abstention = this.problem = null;
    this.#askAgain();
    const complete = support.length > 0 && this.learnerId !== "";
    this.phase = complete ? "adapting" : "incomplete";
    if (complete) this.#settling = window.setTimeout(() => this.#adapt(), SETTLE_MS);
    this.#changed();
  }

  /** @param {number | null} coverage */
  setCoverage(coverage) {
    this.coverage = coverage;
    this.abstention = null;
    this.#askAgain();
    this.#changed();
    this.#ask();
  }

  /** @param {Picture[]} pictures */
  add(pictures) {
    this.questions = [...pictures.map((picture) => /** @type {Question} */ ({ picture, state: "waiting" })), ...this.questions];
    this.#changed();
    this.#ask();
  }

  /** @param {Picture} picture */
  remove(picture) {
    this.questions = this.questions.filter((question) => question.picture !== picture);
    this.#changed();
  }

  /** Once more, after a failure. */
  again() {
    this.setSupport(this.#support);
  }

  /** Have the server forget the classifier. */
  end() {
    this.#drop();
  }

  #drop() {
    clearTimeout(this.#settling);
    this.#work.abort();
    this.#work = new AbortController();
    this.#isAsking = false;
    if (this.#adaptationId) {
      api("DELETE", `/v1/adaptations/${this.#adaptationId}`, { keepalive: true }).catch(() => {});
    }
    this.#adaptationId = "";
  }

  #askAgain() {
    this.questions = this.questions.map(({ picture }) => ({ picture, state: "waiting" }));
  }

  async #adapt() {
    const { signal } = this.#work;
    try {
      const form = this.#supportForm();
      const path = `/v1/meta-learners/${encodeURIComponent(this.learnerId)}/adaptations`;
      const made = await api("POST", path, { form, signal });
      if (signal.aborted) return;
      this.#adaptationId = made.id;
      this.outlook = made.outlook;
      this.phase = "ready";
    } catch (error) {
      if (isAborted(error)) return;
      this.phase = "failed";
      this.problem = /** @type {Problem} */ (error);
    }
    this.#changed();
    this.#ask();
  }

  async #ask() {
    if (this.phase !== "ready" || this.#isAsking) return;
    const { signal } = this.#work;
    this.#isAsking = true;
    for (;;) {
      const batch = this.questions.filter((question) => question.state === "waiting").slice(0, AT_A_TIME);
      if (!batch.length) break;
      for (const question of batch) question.state = "asking";
      this.#changed();
      await this.#answer(batch, signal);
      if (signal.aborted) return;
      this.#changed();
    }
    this.#isAsking = false;
  }

  async #answer(batch, signal) {
    const coverage = this.#usefulCoverage();
    const started = performance.now();
    try {
      const said = await this.#request(batch, coverage, signal);
      const msHere = performance.now() - started;
      this.abstention = said.abstention ?? this.abstention;
      batch.forEach((question, at) => {
        const answer = said.predictions[at];
        const nearest = answer.nearest_support === null ? null : (this.#support[answer.nearest_support] ?? null);
        Object.assign(question, { state: "answered", answer, nearest, msHere, msThere: said.timing_ms, together: batch.length });
      });
    } catch (error) {
      if (isAborted(error)) return;
      for (const question of batch) Object.assign(question, { state: "failed", problem: error });
    }
  }

  async #request(batch, coverage, signal) {
    if (this.#adaptationId) {
      const form = new FormData();
      addQueries(form, batch, coverage);
      try {
        return await api("POST", `/v1/adaptations/${this.#adaptationId}/predictions`, { form, signal });
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== "adaptation-not-found") throw error;
        this.#adaptationId = "";
      }
    }
    const whole = this.#supportForm();
    addQueries(whole, batch, coverage);
    return api("POST", `/v1/meta-learners/${encodeURIComponent(this.learnerId)}/predictions`, { form: whole, signal });
  }

  /** Abstaining needs images to leave out. */
  #usefulCoverage() {
    return this.outlook?.images_left_out ? this.coverage : null;
  }

  #supportForm() {
    const form = new FormData();
    for (const { label, picture } of this.#support) {
      form.append("support", picture.blob, "image");
      form.append("labels", label);
    }
    return form;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function addQueries(form, batch, coverage) {
  for (const { picture } of batch) form.append("query", picture.blob, "image");
  if (coverage !== null) form.append("coverage", String(coverage));
}
