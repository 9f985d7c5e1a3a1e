/** One checkpoint on the upload page: its details, its way, its verdict. */

import { api, isAborted } from "../api.js";
import { announce, el, fill } from "../dom.js";
import { bytes, duration, percent } from "../format.js";
import { icon } from "../icons.js";
import { rejection } from "../pool/rejection.js";
import { statusTag } from "../pool/status.js";
import { failedNote } from "../states.js";
import { manifestForm } from "./manifest_form.js";
import { sendCheckpoint } from "./sending.js";

const RATE_OVER_MS = 8000;

/** Dispatches `change` when it gets into another state. */
export class Item extends EventTarget {
  /** @type {"details" | "sending" | "inspecting" | "over" | "failed"} */
  state = "details";
  #memory = {};
  #work = new AbortController();
  #samples = /** @type {{at: number, sent: number}[]} */ ([]);

  /**
   * @param {File} file
   * @param {Record<string, any>} known  of its manifest
   * @param {string[]} pools
   * @param {boolean} isComplete  whether the manifest came as a file of its own
   * @param {() => void} onremove
   */
  constructor(file, known, pools, isComplete, onremove) {
    super();
    this.file = file;
    this.form = manifestForm(known, pools);
    this.details = el("details", { class: "fold", open: !isComplete }, el("summary", {}, isComplete ? "Details, from its manifest" : "Details"), this.form.element);
    this.news = el("div", { class: "stack", "aria-live": "polite" });
    this.bar = el("progress", { max: file.size, value: 0, "aria-label": `Progress of ${file.name}` });
    this.line = el("p", { class: "small muted figures" });
    this.button = el("button", { type: "button", class: "quiet square", "aria-label": `Leave out ${file.name}`, onclick: () => this.#remove(onremove) }, icon("close"));
    this.element = el(
      "article",
      { class: "card stack", "aria-label": file.name },
      el("div", { class: "row" }, el("h3", { class: "spring" }, file.name), el("span", { class: "small muted" }, bytes(file.size)), this.button),
      this.details,
      this.news,
    );
  }

  /** Send it, and wait for the verdict; a second time goes on where the first one stopped. */
  async send() {
    const { manifest, faults } = this.form.read();
    if (faults.length) {
      this.details.open = true;
      fill(this.news, el("div", { class: "note warn" }, faults.join(" ")));
      return;
    }
    this.details.open = false;
    this.#to("sending");
    fill(this.news, this.bar, this.line);
    this.#samples = [];
    try {
      const model = await sendCheckpoint({ file: this.file, manifest, signal: this.#work.signal, memory: this.#memory, onprogress: (sent) => this.#progress(sent) });
      await this.#inspected(model);
    } catch (error) {
      if (isAborted(error)) return;
      this.#to("failed");
      fill(this.news, failedNote(error), el("div", {}, el("button", { type: "button", onclick: () => this.send() }, "Go on")));
      this.details.open = /** @type {any} */ (error).status === 422;
    }
  }

  /** Stop sending; parts that arrived stay for a while. */
  leave() {
    this.#work.abort();
  }

  async #inspected(model) {
    this.#to("inspecting");
    let seen = model;
    fill(this.news, el("p", { class: "row muted", role: "status" }, statusTag("inspecting"), "The server takes it apart without running any of it …"));
    while (["received", "inspecting"].includes(seen.status)) {
      seen = await api("GET", `/v1/models/${model.id}`, { query: { wait_s: 25 }, signal: this.#work.signal });
    }
    this.#to("over");
    fill(this.news, verdict(seen));
    announce(`${this.file.name}: ${seen.status}`);
  }

  #progress(sent) {
    const now = performance.now();
    this.#samples = [...this.#samples.filter(({ at }) => now - at < RATE_OVER_MS), { at: now, sent }];
    const whole = this.file.size;
    const shown = Math.min(sent, whole);
    this.bar.value = shown;
    const [first] = this.#samples;
    const rate = (1000 * (sent - first.sent)) / (now - first.at);
    const left = rate > 0 && shown < whole ? ` · ${bytes(rate)}/s · about ${duration((whole - shown) / rate)} left` : "";
    this.line.textContent = `${bytes(shown)} of ${bytes(whole)}, ${percent(shown / whole)}${left}`;
  }

  #remove(onremove) {
    this.leave();
    this.element.remove();
    onremove();
  }

  #to(state) {
    this.state = state;
    this.button.hidden = state === "inspecting" || state === "over";
    this.dispatchEvent(new Event("change"));
  }
}

function verdict(model) {
  const link = el("a", { href: `#/pool/${model.id}` }, "Look at it");
  const tag = statusTag(model.status);
  if (model.status === "ready") return el("p", { class: "row" }, tag, "In the pool; builds may use it.", link);
  return [el("p", { class: "row" }, tag, link), model.status === "rejected" ? rejection(model) : null];
}
