/**
 * The public API, asked with the caller's own key.
 *
 * The key is in this page's memory; only if the person wishes it also in `sessionStorage`, which
 * this tab alone reads and which ends with it. It is never in a URL, a cookie or `localStorage`.
 */

const REMEMBERED = "modelpool-key";
let key = sessionStorage.getItem(REMEMBERED);
let whyClosed = "";

/** What went wrong, in the server's words (RFC 9457) or in ours where there was no answer. */
export class Problem extends Error {
  /** @param {{title: string, detail: string, status?: number, code?: string, request_id?: string,
   *   errors?: {part: string, detail: string}[]}} said */
  constructor(said) {
    super(said.detail);
    this.title = said.title;
    this.detail = said.detail;
    this.status = said.status ?? 0;
    this.code = said.code ?? "unreachable";
    this.requestId = said.request_id ?? null;
    this.faults = said.errors ?? [];
  }
}

export const session = {
  /** Whether there is a key to ask with. */
  get isOpen() {
    return key !== null;
  },
  /** @param {string} given @param {boolean} remember in this tab */
  open(given, remember) {
    key = given;
    if (remember) sessionStorage.setItem(REMEMBERED, given);
  },
  /** Forget the key. @param {string} [why] shown beside the field that asks for another */
  close(why = "") {
    window.dispatchEvent(new CustomEvent("modelpool:closing")); // pages end what they began
    key = null;
    whyClosed = why;
    sessionStorage.removeItem(REMEMBERED);
    window.dispatchEvent(new CustomEvent("modelpool:closed"));
  },
  /** Why the last one was closed, told once. */
  takeReason() {
    const reason = whyClosed;
    whyClosed = "";
    return reason;
  },
};

/** Of a request that may come back with the same header sent twice. */
export const newIdempotencyKey = () => crypto.randomUUID?.() ?? String(Math.random()).slice(2);

/**
 * What the API answers.
 * @param {string} method
 * @param {string} path beginning with `/v1`
 * @param {{json?: unknown, form?: FormData, query?: Record<string, string | number | null | undefined>,
 *   signal?: AbortSignal, headers?: Record<string, string>, keepalive?: boolean}} [options]
 * @returns {Promise<any>}
 * @throws {Problem} a refusal, or no answer at all
 */
export async function api(method, path, options = {}) {
  const answer = await send(method, path, options);
  const body = await readBody(answer);
  if (answer.ok) return body;
  const problem = new Problem(isProblem(body) ? body : unexplained(answer));
  if (answer.status === 401 && session.isOpen) {
    session.close("The server does not take this key any more: it has ended or was changed.");
  }
  throw problem;
}

/** The answer as it comes, for streams. */
export async function send(method, path, { json, form, query, signal, headers, keepalive } = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") asked.set(name, String(value));
  }
  const url = asked.size ? `${path}?${asked}` : path;
  const sent = { ...headers, ...authorization() };
  if (json !== undefined) sent["Content-Type"] = "application/json";
  try {
    return await fetch(url, {
      method,
      signal,
      keepalive,
      headers: sent,
      body: json === undefined ? form : JSON.stringify(json),
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({
      title: "No answer from the server",
      detail: "The request did not get through. Is the network there, and does the server run?",
    });
  }
}

/** The header that carries the key; none without one. */
export function authorization() {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/** Whether an error only says that the page was left. @param {unknown} error */
export const isAborted = (error) => error instanceof DOMException && error.name === "AbortError";

async function readBody(answer) {
  const text = await answer.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

const isProblem = (body) => typeof body?.detail === "string" && typeof body?.title === "string";

function unexplained(answer) {
  return {
    title: `The server answered ${answer.status}`,
    detail: "It said nothing that this page understands; something between here and it may have answered.",
    status: answer.status,
    code: "unexplained",
  };
}
