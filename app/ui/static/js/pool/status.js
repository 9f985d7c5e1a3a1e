/** A model's state in a word and a colour. */

import { el } from "../dom.js";

const KINDS = { ready: "good", rejected: "bad", withdrawn: "", received: "busy", inspecting: "busy" };

export const STATUSES = ["ready", "received", "inspecting", "rejected", "withdrawn"];

/** @param {string} status */
export const statusTag = (status) => el("span", { class: `tag ${KINDS[status] ?? ""}` }, status);
