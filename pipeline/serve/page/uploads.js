/** Uploads: a queue of files, a few at a time, with progress and retries while the service is busy. */

import { ServiceError, randomKey, upload } from "./api.js";

/** Uploads at a time; browsers open six connections to a host, and the page needs some of them. */
const AT_ONCE = 2;
/** Attempts after a lost connection. */
const ATTEMPTS = 5;
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpg|mpeg|ts|mts|wmv|flv|3gp|ogv)$/i;

/**
 * @typedef {object} Upload
 * @property {string} id
 * @property {string} name
 * @property {File} file
 * @property {"waiting" | "sending" | "busy" | "failed"} state "busy": the service takes no more files for now.
 * @property {number} share
 * @property {string} error
 * @property {Record<string, string>} settings
 * @property {AbortController} abort
 */

/** Events: "change", and "uploaded" with the id of the job in `detail`. */
export class Uploads extends EventTarget {
  constructor() {
    super();
    /** @type {Upload[]} */
    this.list = [];
  }

  /** @param {File[]} files @param {Record<string, string>} settings @returns {number} Files that are not videos. */
  add(files, settings) {
    const videos = files.filter((file) => file.type.startsWith("video/") || VIDEO.test(file.name));
    for (const file of videos) {
      const abort = new AbortController();
      this.list.push({
        id: randomKey(),
        name: file.name,
        file,
        state: "waiting",
        share: 0,
        error: "",
        settings,
        abort,
      });
    }
    this._next();
    return files.length - videos.length;
  }

  /** Cancel an upload, or take a failed one off the list. @param {Upload} one */
  remove(one) {
    one.abort.abort();
    this._drop(one);
  }

  /** @param {Upload} one */
  retry(one) {
    one.state = "waiting";
    this._next();
  }

  _next() {
    for (const one of this.list) {
      const active = this.list.filter(({ state }) => state === "sending" || state === "busy").length;
      if (active >= AT_ONCE) break;
      if (one.state === "waiting") this._send(one);
    }
    this._changed();
  }

  /** @param {Upload} one */
  async _send(one) {
    for (let attempt = 1; ; attempt++) {
      one.state = "sending";
      try {
        const job = await upload(
          one.file,
          one.settings,
          one.id,
          (share) => this._progress(one, share),
          one.abort.signal,
        );
        this._drop(one);
        this.dispatchEvent(new CustomEvent("uploaded", { detail: job }));
        return;
      } catch (error) {
        if (one.abort.signal.aborted) return;
        if (!(error instanceof ServiceError)) throw error;
        const isBusy = error.status === 429 || error.status === 503;
        if (!isBusy && (error.status !== 0 || attempt >= ATTEMPTS)) {
          one.state = "failed";
          one.error = error.message;
          this._next();
          return;
        }
        one.state = "busy";
        this._changed();
        await pause((error.retryAfter ?? 2) * 1000);
        if (one.abort.signal.aborted) return;
      }
    }
  }

  /** @param {Upload} one @param {number} share */
  _progress(one, share) {
    one.share = share;
    this._changed();
  }

  /** @param {Upload} one */
  _drop(one) {
    this.list = this.list.filter((other) => other !== one);
    this._next();
  }

  _changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * Return the files of a drop, also those in folders, and the names of what the browser may not read.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<{ files: File[], unreadable: string[] }>}
 */
export async function filesOf(transfer) {
  /** @type {{ files: File[], unreadable: string[] }} */
  const found = { files: [], unreadable: [] };
  // The list is empty after the first pause of this function.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => !!entry);
  if (!entries.length) found.files.push(...transfer.files);
  for (const entry of entries) await collect(entry, found);
  return found;
}

/** @param {any} entry @param {{ files: File[], unreadable: string[] }} found */
async function collect(entry, found) {
  try {
    if (entry.isFile) {
      found.files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // Browsers return at most a hundred entries at a time.
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const child of batch) await collect(child, found);
    }
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    found.unreadable.push(entry.name);
  }
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
