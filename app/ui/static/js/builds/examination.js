/** Labelled images that a build's report is made on; they go with the order and are not kept. */

import { el } from "../dom.js";
import { Bins } from "../playground/bins.js";

export class Examination {
  /** @param {AbortSignal} signal  of the visit: the images are forgotten with it */
  constructor(signal) {
    const complaint = el("p", { class: "small bad-text", "aria-live": "polite" });
    this.bins = new Bins((text) => (complaint.textContent = text));
    signal.addEventListener("abort", () => this.bins.clear());
    document.addEventListener("paste", (event) => this.bins.takePasted([...(event.clipboardData?.files ?? [])]), { signal });
    this.element = el(
      "details",
      { class: "card more" },
      el("summary", {}, "Images of your own to examine it on"),
      el(
        "div",
        { class: "stack" },
        el("p", { class: "small muted" }, "Without any, the report compares on drawn pictures, and its level says little. With two or more images of each class it is the accuracy on them; six or more of each also tell what five images reach."),
        el("p", { class: "small muted" }, "They go with the order, are sealed while the build waits and runs, and deleted when it ends."),
        this.bins.element,
        complaint,
        el("div", {}, el("button", { type: "button", onclick: () => this.bins.addEmpty() }, "Add a class")),
      ),
    );
  }

  /** Why the images cannot be used as they are; nothing if they can, or there are none. */
  trouble() {
    const { classes, sameName } = this.bins;
    if (!classes.length) return "";
    if (sameName) return `Two classes are named ${sameName}; give each a name of its own.`;
    if (classes.length < 2) return "To examine it, images of two classes are needed; or take the images away.";
    const few = classes.find(({ images }) => images < 2);
    return few ? `${few.label} has one image; two are needed, one to learn from and one to ask about.` : "";
  }

  /** The order as a request's body: JSON, or a form with the images. @param {object} order */
  bodyOf(order) {
    const { support } = this.bins;
    if (!support.length) return { json: order };
    const form = new FormData();
    form.append("request", JSON.stringify(order));
    for (const { label, picture } of support) {
      form.append("validation", picture.blob, "image");
      form.append("labels", label);
    }
    return { form };
  }
}
