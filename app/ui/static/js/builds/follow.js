/** A build's events as they happen: a stream with the key in a header, else page by page. */

import { Problem, api, isAborted, send } from "../api.js";

/**
 * @typedef {{seq: number, event: "progress" | "log" | "status", data: any}} BuildEvent
 */

const PAUSE_MS = 2000;

/**
 * Hand over a build's events from the first on, until it is over or the signal says to stop.
 *
 * Streams end: servers stop, proxies lose patience. From the last event seen on, another is
 * opened; where none brings anything, the events are asked for page by page.
 * @param {string} id
 * @param {AbortSignal} signal
 * @param {(events: BuildEvent[]) => void} hand
 * @param {(isLost: boolean) => void} lost  told when the server does not answer, and when it does again
 * @throws {Problem} a refusal
 */
export async function follow(id, signal, hand, lost) {
  let seen = 0;
  const take = (events) => {
    const fresh = events.filter(({ seq }) => seq > seen);
    if (!fresh.length) return false;
    seen = fresh[fresh.length - 1].seq;
    hand(fresh);
    return true;
  };
  while (!signal.aborted) {
    try {
      const streams = await streamed(id, seen, signal, take);
      const page = await api("GET", `/v1/builds/${id}/events/poll`, { query: { after: seen, wait_s: streams ? 0 : 20 }, signal });
      lost(false);
      take(page.items);
      if (page.over) return;
    } catch (error) {
      if (!(error instanceof Problem) || ![0, 502, 503, 504].includes(error.status)) throw error;
      lost(true);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

/** Whether a stream brought something; it is over when this returns. */
async function streamed(id, seen, signal, take) {
  let brought = false;
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": String(seen) };
    const answer = await send("GET", `/v1/builds/${id}/events`, { headers, signal });
    if (!answer.ok || !answer.body) return false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return brought;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop() ?? "";
      brought = take(blocks.map(parse).filter((event) => event !== null)) || brought;
    }
  } catch (error) {
    if (isAborted(error) || signal.aborted || error instanceof Problem) throw error;
    return brought; // a connection that broke: the next way says whether the server is there
  }
}

/** @param {string} block @returns {BuildEvent | null} null of comments */
export function parse(block) {
  const fields = { id: "", event: "", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const name = line.slice(0, at);
    if (at > 0 && name in fields) fields[name] += line.slice(at + 1).replace(/^ /, "");
  }
  if (!fields.id || !fields.data) return null;
  return { seq: Number(fields.id), event: /** @type {any} */ (fields.event), data: JSON.parse(fields.data) };
}
