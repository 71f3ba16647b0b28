/** Continuous saving of the corrections of one clip. */

import { ServiceError, jobPath, request, requestJson } from "../api.js";

/** @typedef {import("./types.js").Corrections} Corrections */
/** @typedef {"saved" | "saving" | "waiting" | "conflict"} SaveState "waiting": the service does not answer. */

/** Milliseconds between an edit and its saving, so that a drag is saved once; then between attempts. */
const DELAY = 300;
const RETRY = 3000;

export class Saver {
  /**
   * @param {string} job
   * @param {string} etag Version that was loaded.
   * @param {(state: SaveState, problem?: string) => void} onState
   */
  constructor(job, etag, onState) {
    this._path = jobPath(job, "corrections");
    this._etag = etag;
    this._onState = onState;
    /** @type {Corrections | null} */
    this._next = null;
    this._timer = 0;
    this._busy = false;
    this._stopped = false;
  }

  /** Whether there are edits that the service does not have yet. */
  get pending() {
    return this._busy || this._next !== null;
  }

  /** @param {Corrections} document */
  save(document) {
    this._next = document;
    if (this._stopped) return;
    this._onState("saving");
    this._later(DELAY);
  }

  /** Save at once what is waiting: the clip is being closed. */
  async flush() {
    clearTimeout(this._timer);
    await this._send(true);
  }

  /** Overwrite what another window has saved. @param {Corrections} document */
  async overwrite(document) {
    const response = await request(this._path);
    this._etag = response.headers.get("ETag") ?? "";
    this._stopped = false;
    this.save(document);
  }

  /** @param {number} delay */
  _later(delay) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._send(false), delay);
  }

  /** @param {boolean} keepalive Whether the request outlives the page; browsers limit such bodies to 64 kB. */
  async _send(keepalive) {
    if (this._busy || !this._next || this._stopped) return;
    const document = this._next;
    this._next = null;
    this._busy = true;
    try {
      const headers = { "If-Match": this._etag };
      const isShort = keepalive && document.segments.length < 300;
      const response = await request(this._path, { method: "PUT", json: document, headers, keepalive: isShort });
      this._etag = response.headers.get("ETag") ?? this._etag;
      this._busy = false;
      if (this._next) this._later(0);
      else this._onState("saved");
    } catch (error) {
      this._busy = false;
      this._next ??= document;
      this._failed(error);
    }
  }

  /** @param {unknown} error */
  _failed(error) {
    if (!(error instanceof ServiceError)) throw error;
    if (error.status === 412) {
      this._stopped = true;
      this._onState("conflict");
    } else if (error.status === 0 || error.status >= 500 || error.status === 429) {
      this._onState("waiting", error.message);
      this._later(RETRY);
    } else {
      // The service refuses this document; a later edit is tried again.
      this._next = null;
      this._onState("waiting", error.message);
    }
  }
}

/** Load the corrections of a clip and their version. @param {string} job */
export async function loadCorrections(job) {
  const response = await request(jobPath(job, "corrections"));
  const etag = response.headers.get("ETag") ?? "";
  return { document: /** @type {Corrections} */ (await response.json()), etag };
}

/** @param {string} job @returns {Promise<import("./types.js").SceneDocument>} */
export function loadScene(job) {
  return requestJson(jobPath(job, "scene.json"));
}
