/** The classes a person makes: a card each, with a name and the images that show it. */

import { dropTarget, fileButton, isHandheld } from "../choosers.js";
import { announce, el, fill, newId } from "../dom.js";
import { counted } from "../format.js";
import { icon } from "../icons.js";
import { dropped, forget, readPictures } from "./pictures.js";

/** @typedef {import("./pictures.js").Picture} Picture */

const IMAGES = "image/*";

/** Dispatches `change` when names or images have changed. */
export class Bins extends EventTarget {
  /** @type {{card: HTMLElement, name: HTMLInputElement, thumbs: HTMLElement, tally: HTMLElement,
   *   pictures: Picture[], number: number}[]} */
  #bins = [];
  #made = 0;

  /** @param {(text: string) => void} complain shows a line about files that were left out */
  constructor(complain) {
    super();
    this.complain = complain;
    this.element = el("div", { class: "bins" });
    this.add();
    this.add();
    dropTarget(this.element, (transfer) => this.takeFolders(transfer));
  }

  /** The support set in the order it is sent; empty while two classes of images are not there. */
  get support() {
    const filled = this.#bins.filter((bin) => bin.pictures.length);
    if (filled.length < 2 || this.sameName) return [];
    return filled.flatMap((bin) => bin.pictures.map((picture) => ({ label: labelOf(bin), picture })));
  }

  /** A name that two classes have; nothing if none does. */
  get sameName() {
    const names = this.#bins.filter((bin) => bin.pictures.length).map(labelOf);
    return names.find((name, at) => names.indexOf(name) !== at) ?? "";
  }

  /** Each class with images, and how many it has. */
  get classes() {
    return this.#bins
      .filter((bin) => bin.pictures.length)
      .map((bin) => ({ label: labelOf(bin), images: bin.pictures.length }));
  }

  /** Whether nobody has shown anything yet. */
  get isUntouched() {
    return this.#bins.every((bin) => !bin.pictures.length && !bin.name.value);
  }

  /** @param {string} [name] @param {Picture[]} [pictures] */
  add(name = "", pictures = []) {
    this.#made += 1;
    const bin = this.#draw(this.#made, name);
    bin.pictures = pictures;
    this.#bins.push(bin);
    this.element.append(bin.card);
    this.#show(bin);
    return bin;
  }

  /** Instead of all that is there. @param {{name: string, pictures: Picture[]}[]} classes */
  replace(classes) {
    this.clear();
    for (const { name, pictures } of classes) this.add(name, pictures);
    this.#changed();
  }

  /** Forget all images. */
  clear() {
    for (const bin of this.#bins) forget(bin.pictures);
    this.#bins = [];
    this.#made = 0;
    fill(this.element);
  }

  /** An empty class, ready to be named. */
  addEmpty() {
    this.add().name.focus();
  }

  /** The card that has the focus takes files that are pasted. @param {File[]} files */
  takePasted(files) {
    if (!files.length) return false;
    const bin = this.#bins.find(({ card }) => card.contains(document.activeElement));
    if (bin) this.#takeOnly(bin, files);
    return bin !== undefined;
  }

  /** Folders are classes, loose files fill the first one without images. @param {DataTransfer} transfer */
  async takeFolders(transfer) {
    const { files, folders } = await dropped(transfer);
    let refused = 0;
    for (const folder of folders) {
      const bare = this.#bins.find((bin) => !bin.pictures.length && !bin.name.value);
      const bin = bare ?? this.add();
      bin.name.value = folder.name.slice(0, 200);
      refused += await this.#take(bin, folder.files);
    }
    if (files.length) refused += await this.#take(this.#bins.find((bin) => !bin.pictures.length) ?? this.add(), files);
    this.#tellRefused(refused);
  }

  async #takeOnly(bin, files) {
    this.#tellRefused(await this.#take(bin, files));
  }

  #tellRefused(count) {
    this.complain(count ? `${counted(count, "file is", "files are")} no image that this browser can read and left out.` : "");
  }

  /** Show the images among the files; how many are none. */
  async #take(bin, files) {
    const { pictures, refused } = await readPictures(files);
    bin.pictures.push(...pictures);
    announce(`${counted(pictures.length, "image")} added to ${labelOf(bin)}`);
    this.#show(bin);
    this.#changed();
    return refused;
  }

  #draw(number, name) {
    const bin = { number, pictures: /** @type {Picture[]} */ ([]) };
    const id = newId("class");
    const input = el("input", {
      id,
      value: name,
      maxlength: 200,
      autocomplete: "off",
      placeholder: `Class ${number}`,
      oninput: () => this.#changed(),
    });
    const add = (files) => this.#takeOnly(bin, files);
    const card = el(
      "section",
      { class: "card bin" },
      el(
        "div",
        { class: "bin-head" },
        el("label", { for: id, class: "unseen" }, `Name of class ${number}`),
        input,
        el("button", { type: "button", class: "quiet square", "aria-label": `Remove class ${number}`, onclick: () => this.#remove(bin) }, icon("close")),
      ),
      (bin.thumbs = el("div", { class: "thumbs" })),
      el(
        "div",
        { class: "row" },
        fileButton({ text: "Add images", icon: "image", accept: IMAGES, label: `Add images to class ${number}`, onfiles: add }),
        isHandheld() &&
          fileButton({ text: "Camera", icon: "camera", accept: IMAGES, capture: true, multiple: false, label: `Photograph for class ${number}`, onfiles: add }),
        (bin.tally = el("span", { class: "small muted tally" })),
      ),
    );
    dropTarget(card, async (transfer) => {
      const { files, folders } = await dropped(transfer);
      add([...files, ...folders.flatMap((folder) => folder.files)]);
    });
    return Object.assign(bin, { card, name: input });
  }

  #remove(bin) {
    forget(bin.pictures);
    this.#bins = this.#bins.filter((other) => other !== bin);
    bin.card.remove();
    if (this.#bins.length < 2) this.add();
    this.#changed();
    this.#bins[0].name.focus();
  }

  #show(bin) {
    const images = bin.pictures.map((picture, at) =>
      el(
        "span",
        { class: "thumb" },
        el("img", { src: picture.url, alt: `Image ${at + 1} of ${labelOf(bin)}` }),
        el("button", { type: "button", class: "drop-thumb", "aria-label": `Remove image ${at + 1} of ${labelOf(bin)}`, onclick: () => this.#removePicture(bin, at) }, icon("close", 14)),
      ),
    );
    fill(bin.thumbs, images.length ? images : el("p", { class: "small muted" }, "Drop, paste or choose images"));
    fill(bin.tally, images.length ? counted(images.length, "image") : null);
  }

  #removePicture(bin, at) {
    forget(bin.pictures.splice(at, 1));
    this.#show(bin);
    this.#changed();
    const buttons = bin.card.querySelectorAll("button.drop-thumb");
    (buttons[Math.min(at, buttons.length - 1)] ?? bin.name).focus();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

const labelOf = (bin) => bin.name.value.trim() || `Class ${bin.number}`;
