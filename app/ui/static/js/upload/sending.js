/**
 * A checkpoint on its way: in one request while it is small, else in parts that stay sent.
 *
 * Parts are asked for, sent two at a time and tried again while the network comes and goes; what
 * is given up here goes on where it stopped, also after the page was closed: the parts that the
 * server has are compared with the chosen file by their SHA-256 before they are believed.
 */

import { Problem, api, authorization, isAborted, newIdempotencyKey } from "../api.js";

const IN_ONE_BYTES = 16 * 1024 * 1024;
const PART_BYTES = 8 * 1024 * 1024;
const AT_ONCE = 2;
const PAUSES_MS = [1000, 2000, 5000, 10000];

/**
 * @typedef {object} Sending
 * @property {File} file
 * @property {Record<string, any>} manifest
 * @property {(sent: number) => void} onprogress  bytes that have arrived or are under way
 * @property {AbortSignal} signal
 * @property {{uploadId?: string, key?: string}} memory  kept by the caller between two tries
 */

/** The model's record, received but not inspected yet. @param {Sending} sending */
export function sendCheckpoint(sending) {
  sending.memory.key ??= newIdempotencyKey();
  return sending.file.size <= IN_ONE_BYTES ? sendWhole(sending) : sendParts(sending);
}

/** Uploads that were begun and not ended, newest first. @param {AbortSignal} signal */
export async function unfinished(signal) {
  const page = await api("GET", "/v1/uploads", { signal });
  return page.items.filter((upload) => upload.status === "open");
}

async function sendWhole({ file, manifest, onprogress, signal, memory }) {
  const form = new FormData();
  form.append("manifest", JSON.stringify(manifest));
  form.append("checkpoint", file, "checkpoint");
  const headers = { ...authorization(), "Idempotency-Key": memory.key };
  return transfer("POST", "/v1/models", form, { headers, onprogress, signal });
}

async function sendParts(sending) {
  const { file, manifest, signal, memory } = sending;
  memory.uploadId ??= await matching(file, manifest, signal);
  memory.uploadId ??= (
    await api("POST", "/v1/uploads", {
      json: { manifest, size_bytes: file.size, part_size: PART_BYTES },
      headers: { "Idempotency-Key": memory.key },
      signal,
    })
  ).id;
  const path = `/v1/uploads/${memory.uploadId}`;
  let upload = await api("GET", path, { signal });
  while (upload.status === "open" && upload.next_parts.length) {
    await sendSome(sending, upload);
    upload = await api("GET", path, { signal });
  }
  if (upload.status === "open") await api("POST", `${path}/complete`, { signal, headers: { "Idempotency-Key": `${memory.key}-end` } });
  do upload = await api("GET", path, { query: { wait_s: 25 }, signal });
  while (upload.status === "assembling");
  if (upload.status !== "completed") throw endedOtherwise(upload);
  return api("GET", `/v1/models/${upload.model_id}`, { signal });
}

/** An open upload of the same size and name, all of whose parts are this file's. */
async function matching(file, manifest, signal) {
  if (!crypto.subtle) return undefined; // only on https and localhost
  for (const open of await unfinished(signal)) {
    if (open.size_bytes !== file.size || open.name !== manifest.name || open.pool !== (manifest.pool ?? "default") || !open.send_key) continue;
    const upload = await api("GET", `/v1/uploads/${open.id}`, { signal });
    if (await areOf(file, upload)) return upload.id;
  }
  return undefined;
}

async function areOf(file, upload) {
  for (const part of upload.received) {
    const begin = (part.number - 1) * upload.part_size;
    const bytes = await file.slice(begin, begin + part.size_bytes).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if ([...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== part.etag) return false;
  }
  return true;
}

async function sendSome({ file, onprogress, signal }, upload) {
  const arrived = upload.received.reduce((sum, part) => sum + part.size_bytes, 0);
  const underWay = new Map();
  const tell = () => onprogress(arrived + [...underWay.values()].reduce((sum, bytes) => sum + bytes, 0));
  const waiting = [...upload.next_parts];
  tell();
  const work = async () => {
    for (let part = waiting.shift(); part; part = waiting.shift()) {
      const { number, offset, size_bytes } = part;
      await patiently(signal, () =>
        transfer("PUT", part.url, file.slice(offset, offset + size_bytes), {
          headers: upload.send_key ? authorization() : {},
          signal,
          onprogress: (bytes) => {
            underWay.set(number, Math.min(bytes, size_bytes));
            tell();
          },
        }),
      );
      underWay.set(number, size_bytes);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Again where waiting may help: no answer, or an answer of 5xx or 429. */
async function patiently(signal, attempt) {
  for (const pause of [...PAUSES_MS, null]) {
    try {
      return await attempt();
    } catch (error) {
      const mayHelp = error instanceof Problem && (error.status === 0 || error.status === 429 || error.status >= 500);
      if (isAborted(error) || !mayHelp || pause === null) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
      signal.throwIfAborted();
    }
  }
  return null;
}

/** One request whose progress is told, which `fetch` cannot. */
function transfer(method, url, body, { headers, onprogress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onprogress(event.loaded);
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.onload = () => (request.status < 300 ? resolve(parsed(request)) : reject(refused(request)));
    request.onabort = () => reject(new DOMException("left", "AbortError"));
    request.onerror = () => reject(broken(url));
    signal.addEventListener("abort", abort);
    request.send(body);
  });
}

function broken(url) {
  const { origin, host } = new URL(url, window.location.href);
  const elsewhere = origin === window.location.origin ? "" : ` If it never gets through, the object store at ${host} may not allow requests from these pages (CORS); its operator can.`;
  return new Problem({ title: "The connection broke", detail: `What has arrived stays there; going on begins where it stopped.${elsewhere}` });
}

function parsed(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return null;
  }
}

function refused(request) {
  const said = parsed(request);
  if (said?.title && said?.detail) return new Problem(said);
  return new Problem({ title: `The server answered ${request.status}`, detail: "It did not say why.", status: request.status, code: "unexplained" });
}

function endedOtherwise(upload) {
  return new Problem({ title: `The upload is ${upload.status}`, detail: upload.reason ?? "It was given up, here or elsewhere. Send it again.", code: upload.reason_code ?? upload.status, status: 409 });
}
