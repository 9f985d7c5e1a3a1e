/** One build: live while it runs, its report when it has ended. */

import { api, newIdempotencyKey } from "../api.js";
import { Curves } from "../builds/curves.js";
import { seconds } from "../builds/estimate.js";
import { follow } from "../builds/follow.js";
import { PART_OF, RECIPES, changesOf, recipeName } from "../builds/recipes.js";
import { reportView } from "../builds/report.js";
import { buildTag, isOver } from "../builds/statuses.js";
import { Story } from "../builds/story.js";
import { canResume, resumeButton } from "../builds/resuming.js";
import { confirmed } from "../confirming.js";
import { announce, el, fill } from "../dom.js";
import { counted, duration, percent, when } from "../format.js";
import { icon } from "../icons.js";
import { failedNote } from "../states.js";

export const title = "Build";

export async function render({ params, signal }) {
  const build = await api("GET", `/v1/builds/${encodeURIComponent(params.id)}`, { signal });
  const page = new BuildPage(build, signal);
  page.draw();
  page.watch();
  return page.element;
}

class BuildPage {
  constructor(build, signal) {
    this.build = build;
    this.signal = signal;
    this.isLost = false;
    this.curves = new Curves();
    this.story = new Story();
    this.head = el("div", { class: "head" });
    this.now = el("section", { class: "card stack", "aria-label": "Progress" });
    this.trouble = el("div", { "aria-live": "polite" });
    this.result = el("div", { class: "stack" });
    this.element = el(
      "div",
      { class: "page" },
      this.head,
      this.trouble,
      this.result,
      this.now,
      this.curves.element,
      el("section", { class: "stack" }, el("h2", {}, "Log"), this.story.list),
    );
  }

  /** Follow the events to the end; what ends the following is shown, not thrown. */
  async watch() {
    const { id } = this.build;
    const ticking = setInterval(() => this.drawNow(), 1000);
    this.signal.addEventListener("abort", () => clearInterval(ticking));
    try {
      const wasOver = isOver(this.build.status);
      if (wasOver) await this.end();
      await follow(id, this.signal, (events) => this.take(events), (isLost) => this.lost(isLost));
      if (!wasOver) {
        await this.refresh();
        await this.end();
        announce(`The build has ended: ${this.build.status}`);
      }
    } catch (problem) {
      if (!this.signal.aborted) fill(this.trouble, failedNote(problem), el("p", {}, el("button", { type: "button", onclick: visitAgain }, "Follow it again")));
    } finally {
      clearInterval(ticking);
    }
  }

  take(events) {
    for (const event of events) {
      this.story.add(event);
      if (event.event === "progress") this.curves.add(event.data.at, event.data.metrics);
      if (event.event === "progress" && !isOver(this.build.status)) this.move(event.data);
    }
    this.curves.draw(this.build.started_at);
    const turned = events.some(({ event }) => event !== "progress");
    if (turned && !isOver(this.build.status)) this.refresh().catch(() => {}); // later events try again
    else this.drawNow();
  }

  move({ stage, fraction, eta_s }) {
    Object.assign(this.build, { stage, progress: fraction, eta_s, status: "running" });
  }

  async refresh() {
    this.build = await api("GET", `/v1/builds/${this.build.id}`, { signal: this.signal });
    this.draw();
  }

  /** What a build that has ended delivered. */
  async end() {
    const learner = this.build.meta_learner_id;
    if (!learner) return;
    const record = await api("GET", `/v1/meta-learners/${learner}`, { signal: this.signal });
    fill(this.result, delivered(record), reportView(record.report));
  }

  lost(isLost) {
    if (isLost === this.isLost) return;
    this.isLost = isLost;
    fill(this.trouble, isLost && el("p", { class: "note warn" }, el("strong", {}, "No answer from the server."), " The build does not need this page; it is asked for again every two seconds."));
  }

  draw() {
    const { build } = this;
    fill(
      this.head,
      el(
        "div",
        {},
        el("p", {}, el("a", { href: "#/builds", class: "row tight" }, icon("back", 18), "Builds")),
        el("h1", {}, recipeName(build.recipe), " ", buildTag(build.status)),
        el("p", { class: "muted" }, `Pool ${build.pool}, ${counted(build.n_models, "model")}, ordered `, when(build.created_at)),
        build.resumed_from && el("p", { class: "small muted" }, "It goes on with ", el("a", { href: `#/builds/${build.resumed_from}` }, "an earlier build"), "."),
      ),
      el(
        "div",
        { class: "row" },
        !isOver(build.status) && this.cancelButton(),
        canResume(build) && resumeButton(build, this.trouble),
        el("a", { class: "button", href: `#/builds/new?from=${build.id}` }, "Order another like it"),
      ),
    );
    this.drawNow();
  }

  cancelButton() {
    this.cancelling ??= confirmed({
      text: "Cancel",
      question: "End this build? It can be resumed for a while if it has saved its state.",
      yes: "Cancel the build",
      no: "Let it run",
      act: async () => {
        await api("POST", `/v1/builds/${this.build.id}/cancel`, { headers: { "Idempotency-Key": newIdempotencyKey() } });
        await this.refresh();
      },
    });
    return this.cancelling;
  }

  drawNow() {
    const { build } = this;
    const known = RECIPES[build.recipe.algorithm]?.stages ?? [];
    fill(
      this.now,
      build.status === "failed" && el("div", { class: "note bad" }, el("strong", {}, "It failed."), " ", build.error),
      this.story.interruptions > 0 && el("p", { class: "note" }, `It was interrupted ${counted(this.story.interruptions, "time")} and went on by itself from its last saved state; nobody needs to resume it.`),
      !isOver(build.status) && bar(build),
      el("dl", { class: "times" }, times(build).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: "figures" }, value)))),
      stages(known, build),
      settings(build),
    );
  }
}

const visitAgain = () => window.dispatchEvent(new HashChangeEvent("hashchange"));

function bar(build) {
  const made = el("progress", { max: 1, value: build.progress, "aria-label": "Progress" });
  return el("div", { class: "row nowrap" }, made, el("span", { class: "figures" }, percent(build.progress)));
}

function times(build) {
  const over = isOver(build.status);
  const start = build.started_at;
  const since = start && !over ? duration(Math.max((Date.now() - Date.parse(start)) / 1000, 1)) : null;
  return [
    !start && !over && ["Waits for", "a worker that is free"],
    start && ["Began", when(start)],
    since && ["Runs for", since],
    !over && build.eta_s !== null && ["Left, about", `${duration(build.eta_s)}, until ${clock.format(Date.now() + 1000 * build.eta_s)}`],
    over && build.finished_at && ["Ended", when(build.finished_at)],
    over && start && build.finished_at && ["Took", duration(seconds(build))],
    ["Seed", String(build.seed)],
  ].filter(Boolean);
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

function stages(known, build) {
  if (isOver(build.status)) return null;
  const at = known.indexOf(PART_OF[build.stage] ?? build.stage);
  const kind = (place) => (place < at ? "done" : place === at ? "here" : "");
  return el(
    "ol",
    { class: "stages" },
    known.map((stage, place) => el("li", { class: kind(place), "aria-current": place === at ? "step" : null }, stage, place < at && el("span", { class: "unseen" }, " (done)"))),
    at < 0 && build.stage && el("li", { class: "here", "aria-current": "step" }, build.stage),
  );
}

function settings(build) {
  const changed = Object.entries(changesOf(build.recipe));
  if (!changed.length) return null;
  return el("p", { class: "small muted" }, "Numbers of its own: ", changed.map(([name, value], at) => [at > 0 && ", ", el("code", {}, `${name} ${JSON.stringify(value)}`)]));
}

function delivered(learner) {
  return el(
    "div",
    { class: "note good row" },
    el("span", { class: "grow" }, el("strong", {}, "Its meta-learner is there.")),
    el("a", { class: "button", href: `#/learners/${learner.id}` }, "Look at it"),
    learner.status !== "retired" && el("a", { class: "button main", href: `#/playground?learner=${learner.id}` }, "Try it on images"),
  );
}
