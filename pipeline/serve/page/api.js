/** Requests to the service. */

/** @typedef {import("./model/types.js").Job} Job */

/** An answer that is not a success; the message is the service's own and says what to do. */
export class ServiceError extends Error {
  /** @param {number} status @param {string} kind @param {string} message @param {number} [retryAfter] seconds */
  constructor(status, kind, message, retryAfter) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {string} path
 * @param {RequestInit & {json?: unknown}} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, { json, ...options } = {}) {
  const headers = new Headers(options.headers);
  if (json !== undefined) {
    headers.set("Content-Type", "application/json");
    options.body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "same-origin" });
  } catch {
    throw new ServiceError(0, "offline", "The service does not answer. Check that `skelpipe serve` is still running.");
  }
  if (!response.ok) throw errorOf(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

/** @param {string} path @param {RequestInit & {json?: unknown}} [options] @returns {Promise<any>} */
export async function requestJson(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/** @param {string} id @param {string} [part] */
export function jobPath(id, part) {
  return `/v1/jobs/${encodeURIComponent(id)}${part ? `/${part}` : ""}`;
}

/**
 * Upload a video.
 *
 * @param {File} file
 * @param {Record<string, string>} settings Query parameters.
 * @param {string} key Idempotency key: a repeated upload makes no second job.
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<string>} The id of the job.
 */
export function upload(file, settings, key, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const query = new URLSearchParams({ name: file.name, ...settings });
    const call = new XMLHttpRequest();
    call.open("POST", `/v1/jobs?${query}`);
    call.setRequestHeader("Content-Type", "application/octet-stream");
    call.setRequestHeader("Idempotency-Key", key);
    call.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    call.onload = () => {
      if (call.status < 300) resolve(JSON.parse(call.responseText).id);
      else reject(errorOf(call.status, call.responseText, call.getResponseHeader("Retry-After")));
    };
    call.onerror = () => reject(new ServiceError(0, "offline", "The connection broke off during the upload."));
    call.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => call.abort());
    call.send(file);
  });
}

/** A random key for `upload`; `crypto.randomUUID` is missing where a page comes over plain HTTP. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Follow the events of all jobs and trainings. The browser reconnects by itself.
 *
 * @param {object} handlers
 * @param {(job: Job) => void} handlers.job
 * @param {(id: string) => void} handlers.removed
 * @param {(training: any) => void} handlers.training
 * @param {() => void} handlers.runs The service has learned more about its recognizers.
 * @param {(connected: boolean) => void} handlers.connection
 */
export function followEvents(handlers) {
  const { job, removed, training, runs, connection } = handlers;
  const source = new EventSource("/v1/events");
  /** @param {(data: any) => void} handler */
  const parsed = (handler) => (/** @type {MessageEvent} */ event) => handler(JSON.parse(event.data));
  source.addEventListener("open", () => connection(true));
  source.addEventListener("error", () => {
    connection(false);
    // After an answer such as 503 the browser gives up.
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => followEvents(handlers), 3000);
    }
  });
  source.addEventListener("progress", parsed(job));
  source.addEventListener("state", parsed(job));
  source.addEventListener(
    "removed",
    parsed((data) => removed(data.id)),
  );
  source.addEventListener("training", parsed(training));
  source.addEventListener("runs", () => runs());
}

/** @param {number} status @param {string} body @param {string | null} retryAfter */
function errorOf(status, body, retryAfter) {
  const seconds = retryAfter === null ? undefined : Number(retryAfter) || 2;
  try {
    const { kind, message } = JSON.parse(body).error;
    return new ServiceError(status, kind, message, seconds);
  } catch {
    return new ServiceError(status, "error", `The service answered with status ${status}.`, seconds);
  }
}
