/** A person with a handful of images: show classes, ask about others, see how sure to be. */

import { isHandheld, dropTarget, fileButton } from "../choosers.js";
import { codeTabs } from "../copying.js";
import { announce, el, fill, newId } from "../dom.js";
import { counted } from "../format.js";
import { icon } from "../icons.js";
import { answerCards, summary } from "../playground/answers.js";
import { Bins } from "../playground/bins.js";
import { Conversation } from "../playground/conversation.js";
import { askable, learnerField, learnerSelect } from "../playground/learners.js";
import { outlookPanel } from "../playground/outlook.js";
import { dropped, forget, readPictures } from "../playground/pictures.js";
import { SAMPLES, drawSamples } from "../playground/samples.js";
import { asCommand, asCurl, asPython } from "../playground/snippets.js";
import { remember } from "../router.js";
import { empty } from "../states.js";

export const title = "Playground";

/** @param {import("../router.js").Visit} visit */
export async function render({ query, signal }) {
  const wanted = query.get("learner") ?? "";
  const learners = await askable(wanted, signal);
  if (learners && !learners.length) return noLearner();
  const chosen = wanted || !learners ? wanted : learners[0].id;
  const talk = new Conversation(chosen);
  const onchoose = (id) => {
    remember({ learner: id });
    talk.setLearner(id);
  };
  const head = el(
    "div",
    { class: "head" },
    el("div", {}, el("h1", {}, "Playground"), el("p", { class: "muted" }, "Show a few images of each class, then ask about others.")),
    learners ? learnerSelect(learners, chosen, onchoose) : learnerField(chosen, onchoose),
  );
  return el("div", { class: "page" }, head, promise(), ...workbench(talk, signal));
}

function workbench(talk, signal) {
  const trouble = el("div", { "aria-live": "polite" });
  const complain = (text) => {
    fill(trouble, text ? el("p", { class: "note warn" }, text) : null);
    if (text) announce(text);
  };
  const bins = new Bins(complain);
  const outlook = el("div", { class: "card outlook", "aria-live": "polite" });
  const answers = el("div", { class: "answers" });
  const line = el("div");
  const coverage = coverageControl(talk);
  const told = () => ({ learnerId: talk.learnerId || "LEARNER", classes: bins.classes, coverage: talk.coverage, server: window.location.origin });
  const code = codeTabs({ curl: () => asCurl(told()), Python: () => asPython(told()), CLI: () => asCommand(told()) });

  const remove = (picture) => {
    talk.remove(picture);
    forget([picture]);
    asking.querySelector("button")?.focus();
  };
  const draw = () => {
    fill(outlook, outlookPanel(talk, bins));
    fill(line, summary(talk));
    fill(answers, talk.questions.length ? answerCards(talk, remove) : nothingAsked());
    coverage.update();
    code.refresh();
    sayAnswers(talk);
  };
  const ask = async (files) => {
    const { pictures, refused } = await readPictures(files);
    complain(refused ? `${counted(refused, "file is", "files are")} no image that this browser can read and left out.` : "");
    talk.add(pictures);
  };
  const asking = askingArea(ask);
  const onsamples = (family) => {
    const { classes, queries } = drawSamples(family, Date.now());
    forget(talk.questions.map(({ picture }) => picture));
    talk.questions = [];
    bins.replace(classes);
    talk.add(queries);
  };
  const onclear = () => {
    forget(talk.questions.map(({ picture }) => picture));
    talk.questions = [];
    bins.replace([{ name: "", pictures: [] }, { name: "", pictures: [] }]);
  };

  bins.addEventListener("change", () => talk.setSupport(bins.support));
  talk.addEventListener("change", draw);
  listenForPasting(bins, ask, signal);
  signal.addEventListener("abort", () => {
    talk.end();
    bins.clear();
    forget(talk.questions.map(({ picture }) => picture));
  });
  window.addEventListener("pagehide", () => talk.end(), { signal });
  draw();
  return [trouble, columns({ bins, outlook, asking, coverage, line, answers, onsamples, onclear }), takeAlong(code)];
}

function columns({ bins, outlook, asking, coverage, line, answers, onsamples, onclear }) {
  const samples = Object.entries(SAMPLES).map(([family, name]) =>
    el("button", { type: "button", onclick: () => onsamples(family) }, icon("dice"), name),
  );
  return el(
    "div",
    { class: "bench" },
    el(
      "section",
      { class: "stack", "aria-label": "Classes" },
      el("h2", {}, el("span", { class: "step" }, "1"), "Show the classes"),
      el("div", { class: "row small samples" }, el("span", { class: "muted" }, "No images at hand? Drawn by chance:"), samples),
      bins.element,
      el(
        "div",
        { class: "row" },
        el("button", { type: "button", onclick: () => bins.addEmpty() }, icon("add"), "Add a class"),
        el("button", { type: "button", class: "quiet", onclick: onclear }, "Clear all"),
      ),
      outlook,
    ),
    el(
      "section",
      { class: "stack", "aria-label": "Queries" },
      el("h2", {}, el("span", { class: "step" }, "2"), "Ask about others"),
      asking,
      coverage.element,
      line,
      answers,
    ),
  );
}

function askingArea(ask) {
  const area = el(
    "div",
    { class: "drop asking" },
    fileButton({ text: "Choose images", icon: "image", accept: "image/*", kind: "main", onfiles: ask }),
    isHandheld() && fileButton({ text: "Camera", icon: "camera", accept: "image/*", capture: true, multiple: false, onfiles: ask }),
    el("span", {}, "or drop or paste them here"),
  );
  dropTarget(area, async (transfer) => {
    const { files, folders } = await dropped(transfer);
    ask([...files, ...folders.flatMap((folder) => folder.files)]);
  });
  return area;
}

/** Whether, and how boldly, unsure answers are held back. */
function coverageControl(talk) {
  const id = newId("coverage");
  const share = el(
    "select",
    { id, "aria-label": "Share of queries to answer", onchange: () => tell() },
    [0.95, 0.9, 0.8, 0.7, 0.5].map((value) => el("option", { value, selected: value === 0.8 }, `the surest ${Math.round(100 * value)} %`)),
  );
  const box = el("input", { type: "checkbox", onchange: () => tell() });
  const hint = el("p", { class: "small muted" });
  const tell = () => talk.setCoverage(box.checked ? Number(share.value) : null);
  const update = () => {
    const cannot = talk.phase === "ready" && !talk.outlook.images_left_out;
    box.disabled = cannot;
    share.hidden = !box.checked;
    const expected = talk.abstention?.expected_accuracy;
    fill(
      hint,
      cannot ? "Holding back takes two images of a class." : null,
      !cannot && box.checked && typeof expected === "number" ? `Of those it answers, about ${Math.round(100 * expected)} % are expected to be right.` : null,
    );
  };
  const element = el("div", { class: "row coverage" }, el("label", { class: "check" }, box, "Hold back unsure answers"), share, hint);
  return { element, update };
}

function takeAlong(code) {
  return el(
    "details",
    { class: "card take" },
    el("summary", {}, "The same from a program"),
    el("p", { class: "small muted" }, "Written for the classes above. Adapting once and asking often, as this page does, is ", el("code", {}, "POST …/adaptations"), " in ", el("a", { href: "/docs" }, "the API"), "."),
    code.element,
  );
}

function promise() {
  return el(
    "details",
    { class: "promise small" },
    el("summary", {}, icon("lock", 18), el("span", {}, el("strong", {}, "Your images are not kept."), " They go from this page into the server’s memory for the answer, and are written nowhere.")),
    el(
      "ul",
      {},
      el("li", {}, "Large photographs are made smaller in this browser first; where and when they were taken, and their file names, stay here."),
      el("li", {}, "What the server learnt from them (averages and a list of numbers an image, no image) stays in its memory until you change the classes, leave this page, or an hour has passed."),
      el("li", {}, "This page forgets the images when you leave or reload it."),
    ),
  );
}

function nothingAsked() {
  return el("p", { class: "muted nothing" }, "Answers appear here: a probability for each class, and the image it looked most like.");
}

function noLearner() {
  return el(
    "div",
    { class: "page" },
    el("h1", {}, "Playground"),
    empty({
      title: "No meta-learner yet",
      text: "One is built from the classifiers in the pool. Upload at least two, then order a build; it appears here when it is done.",
      actions: [
        el("a", { class: "button main", href: "#/upload" }, icon("upload"), "Upload models"),
        el("a", { class: "button", href: "#/builds/new" }, icon("build"), "Order a build"),
      ],
    }),
  );
}

function listenForPasting(bins, ask, signal) {
  document.addEventListener(
    "paste",
    (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      if (!bins.takePasted(files)) ask(files);
    },
    { signal },
  );
}

let said = "";
function sayAnswers(talk) {
  const answered = talk.questions.filter(({ state }) => state === "answered");
  if (!answered.length || answered.length !== talk.questions.length) return;
  const text = `Answered: ${answered.slice(0, 5).map(({ answer }) => (answer.abstained ? "not sure" : answer.label)).join(", ")}`;
  if (text !== said) announce(text);
  said = text;
}
