/** States of builds and meta-learners, as tags. */

import { el } from "../dom.js";

const BUILDS = {
  queued: ["busy", "waiting"],
  running: ["busy", "running"],
  succeeded: ["good", "done"],
  failed: ["bad", "failed"],
  canceled: ["warn", "cancelled"],
};
const LEARNERS = {
  active: ["good", "active"],
  tainted: ["warn", "learnt from a withdrawn model"],
  retired: ["bad", "retired"],
};

/** Whether a build will change no more. @param {string} status */
export const isOver = (status) => ["succeeded", "failed", "canceled"].includes(status);

/** @param {string} status */
export const buildTag = (status) => tag(BUILDS, status);

/** @param {string} status */
export const learnerTag = (status) => tag(LEARNERS, status);

function tag(names, status) {
  const [kind, text] = names[status] ?? ["", status];
  return el("span", { class: `tag ${kind}` }, text);
}
