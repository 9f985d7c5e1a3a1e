/** What a build says about itself, the latest last; and what happened to it on the way. */

import { el } from "../dom.js";

const LINES = 200;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export class Story {
  constructor() {
    this.list = el("ol", { class: "log", tabindex: "0", "aria-label": "What the build said, the latest last" });
    this.interruptions = 0;
    this.stage = "";
  }

  /** @param {import("./follow.js").BuildEvent} event */
  add({ event, data }) {
    if (event === "log") this.say(data.at, data.message);
    if (event === "progress" && data.stage !== this.stage) {
      this.stage = data.stage;
      this.say(data.at, `Now: ${data.stage}.`);
    }
    if (event !== "status") return;
    if (data.status === "queued") this.interruptions += 1;
    this.say(data.at, [names[data.status] ?? data.status, data.error].filter(Boolean).join(" "));
  }

  say(at, text) {
    const date = new Date(at);
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24;
    this.list.append(el("li", {}, el("time", { datetime: date.toISOString(), title: date.toString() }, clock.format(date)), " ", text));
    while (this.list.children.length > LINES) this.list.firstElementChild?.remove();
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}

const names = { queued: "Interrupted; it goes on by itself.", succeeded: "Done.", failed: "Failed.", canceled: "Cancelled." };
