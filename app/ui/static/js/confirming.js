/** What cannot be undone asks back, in place, before it is done. */

import { announce, el, fill } from "./dom.js";
import { failedNote } from "./states.js";

/**
 * A button that asks back.
 * @param {{text: string, question: string, yes: string, no?: string, kind?: string, label?: string,
 *   act: () => Promise<void>}} wanted  `label` names the button where `text` alone says too little
 */
export function confirmed({ text, question, yes, no = "Keep it", kind = "", label, act }) {
  const holder = el("span", { class: "confirming" });
  const shut = () => {
    fill(holder, opener);
    opener.focus();
  };
  const opener = el("button", { type: "button", class: kind, "aria-label": label, onclick: () => ask() }, text);
  const ask = () => {
    const trouble = el("span", {});
    const keep = el("button", { type: "button", onclick: shut }, no);
    const go = el("button", { type: "button", class: "danger", onclick: () => run(go, trouble) }, yes);
    const box = el("span", { class: "note warn row", role: "group", "aria-label": question }, el("span", {}, question), go, keep, trouble);
    box.addEventListener("keydown", (event) => event.key === "Escape" && shut());
    fill(holder, box);
    keep.focus();
    announce(question);
  };
  const run = async (button, trouble) => {
    button.disabled = true;
    try {
      await act();
      if (holder.isConnected) fill(holder, opener);
    } catch (problem) {
      button.disabled = false;
      fill(trouble, failedNote(problem));
    }
  };
  fill(holder, opener);
  return holder;
}
