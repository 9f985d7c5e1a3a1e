/** Ways to bring files in: a button, the camera, dropping, pasting. */

import { el } from "./dom.js";
import { icon } from "./icons.js";

/**
 * A button that opens the file dialogue.
 * @param {{text: string, icon: Parameters<typeof icon>[0], accept: string, multiple?: boolean,
 *   capture?: boolean, kind?: string, label?: string, onfiles: (files: File[]) => void}} wanted
 */
export function fileButton({ text, icon: drawing, accept, multiple = true, capture, kind = "", label, onfiles }) {
  const input = el("input", {
    type: "file",
    accept,
    multiple,
    capture: capture ? "environment" : null,
    hidden: true,
    onchange: () => {
      onfiles([...input.files]);
      input.value = ""; // the same file can be chosen again
    },
  });
  const button = el(
    "button",
    { type: "button", class: kind, "aria-label": label, onclick: () => input.click() },
    icon(drawing),
    text,
  );
  return el("span", {}, button, input);
}

/** Whether this device has a camera in reach of a thumb. */
export const isHandheld = () => window.matchMedia("(pointer: coarse)").matches;

/**
 * Let files be dropped on an element; it is marked while they hover over it.
 * @param {HTMLElement} target
 * @param {(transfer: DataTransfer) => void} ondrop
 */
export function dropTarget(target, ondrop) {
  let depth = 0; // of elements within that the pointer has entered
  const mark = (change) => {
    depth = change === 0 ? 0 : depth + change;
    target.classList.toggle("over", depth > 0);
  };
  target.addEventListener("dragenter", (event) => {
    event.preventDefault();
    mark(1);
  });
  target.addEventListener("dragleave", () => mark(-1));
  target.addEventListener("dragover", (event) => event.preventDefault());
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    mark(0);
    if (event.dataTransfer) ondrop(event.dataTransfer);
  });
}
