/** What the page knows of the service: jobs, runs and trainings, kept up to date by one stream of events. */

import { followEvents, requestJson } from "./api.js";

/** @typedef {import("./model/types.js").Job} Job */

/** Clips that are listed at the start; older ones are found by name in the service's own list. */
const LISTED = 200;

/** Events: "jobs", "trainings", "runs", "connection", and "problem" when the first requests fail. */
export class Service extends EventTarget {
  constructor() {
    super();
    /** @type {Map<string, Job>} */
    this.jobs = new Map();
    /** @type {Map<string, any>} */
    this.trainings = new Map();
    /** @type {any[]} */
    this.runs = [];
    this.connected = true;
    this.loaded = false;
    /** @type {Error | null} */
    this.problem = null;
  }

  /** Load everything, then follow the events. */
  start() {
    followEvents({
      job: (job) => this._put("jobs", job),
      removed: (id) => this._remove("jobs", id),
      training: (training) => {
        if (training.removed) this._remove("trainings", training.id);
        else this._put("trainings", training);
        // Its run has become the default one.
        if (training.accepted) this._load("/v1/runs", (runs) => (this.runs = runs)).then(() => this._tell("runs"));
      },
      connection: (connected) => {
        const isNew = connected !== this.connected;
        this.connected = connected;
        if (isNew) this._tell("connection");
        // Events may have been missed.
        if (connected) this.reload();
      },
    });
    return this.reload();
  }

  async reload() {
    this.problem = null;
    await Promise.all([
      this._load(`/v1/jobs?limit=${LISTED}`, ({ jobs }) => (this.jobs = byId(jobs))),
      this._load("/v1/runs", (runs) => (this.runs = runs)),
      this._load("/v1/trainings", (trainings) => (this.trainings = byId(trainings))),
    ]);
    this.loaded = true;
    for (const event of ["jobs", "runs", "trainings", "problem"]) this._tell(event);
  }

  /** Load one job again: it has just been uploaded. @param {string} id */
  async refresh(id) {
    const job = await requestJson(`/v1/jobs/${encodeURIComponent(id)}`);
    this._put("jobs", job);
    return job;
  }

  /** @param {string} path @param {(answer: any) => void} keep */
  async _load(path, keep) {
    try {
      keep(await requestJson(path));
    } catch (error) {
      this.problem = /** @type {Error} */ (error);
    }
  }

  /** @param {"jobs" | "trainings"} kind @param {any} item */
  _put(kind, item) {
    this[kind].set(item.id, item);
    this._tell(kind);
  }

  /** @param {"jobs" | "trainings"} kind @param {string} id */
  _remove(kind, id) {
    this[kind].delete(id);
    this._tell(kind);
  }

  /** @param {string} event */
  _tell(event) {
    this.dispatchEvent(new Event(event));
  }
}

/** @param {any[]} items @returns {Map<string, any>} */
function byId(items) {
  return new Map(items.map((item) => [item.id, item]));
}
