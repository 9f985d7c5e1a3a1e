/** A build that was cancelled or failed, gone on with from its saved state: as another build. */

import { api, newIdempotencyKey } from "../api.js";
import { announce, el, fill } from "../dom.js";
import { go } from "../router.js";
import { failedNote } from "../states.js";

const WOULD_FAIL_AGAIN = "cannot-be-built";

/** @param {{status: string, saved_at: string | null, error_code: string | null}} build */
export const canResume = ({ status, saved_at, error_code }) =>
  ["canceled", "failed"].includes(status) && saved_at !== null && error_code !== WOULD_FAIL_AGAIN;

/**
 * @param {{id: string}} build
 * @param {HTMLElement} trouble  where it is said if it cannot be done
 */
export function resumeButton(build, trouble) {
  const headers = { "Idempotency-Key": newIdempotencyKey() };
  const button = el("button", { type: "button", class: "main", onclick: () => resume() }, "Resume");
  const resume = async () => {
    button.disabled = true;
    try {
      const { id } = await api("POST", `/v1/builds/${build.id}/resume`, { headers });
      announce("It goes on as another build");
      go(`#/builds/${id}`);
    } catch (problem) {
      button.disabled = false;
      fill(trouble, failedNote(problem));
    }
  };
  return button;
}
