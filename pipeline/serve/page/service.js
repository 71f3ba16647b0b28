/** What the page knows of the service: jobs, runs and trainings, kept up to date by one stream of events. */

import { followEvents, requestJson } from "./api.js";

/** @typedef {import("./model/types.js").Job} Job */

/** Clips that are listed at the start, and that `older` adds. */
const LISTED = 100;

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
    // Number of events so far, and the number at which each job or training changed last.
    this._events = 0;
    /** @type {Map<string, number>} */
    this._changed = new Map();
    this._count = LISTED;
    /** Whether the service has clips that are not listed. */
    this.hasOlder = false;
    this.connected = true;
    this.loaded = false;
    /** @type {Error | null} */
    this.problem = null;
  }

  /** Load everything, then follow the events. */
  start() {
    followEvents({
      job: (job) => this._happened("jobs", job.id, job),
      removed: (id) => this._happened("jobs", id, null),
      training: (training) => {
        this._happened("trainings", training.id, training.removed ? null : training);
        // Its run has become the default one.
        if (training.accepted) this._load("/v1/runs", (runs) => (this.runs = runs)).then(() => this._tell("runs"));
      },
      runs: () => this._load("/v1/runs", (runs) => (this.runs = runs)).then(() => this._tell("runs")),
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
    const since = this._events;
    await Promise.all([
      this._loadJobs(since),
      this._load("/v1/runs", (runs) => (this.runs = runs)),
      this._load("/v1/trainings", (list) => (this.trainings = this._merged("trainings", list, since))),
    ]);
    this.loaded = true;
    for (const event of ["jobs", "runs", "trainings", "problem"]) this._tell(event);
  }

  /** List older clips, too. */
  async older() {
    this._count += LISTED;
    this.problem = null;
    await this._loadJobs(this._events);
    this._tell("jobs");
    if (this.problem) this._tell("problem");
  }

  /** Load the newest jobs, page by page. @param {number} since Number of events so far. */
  async _loadJobs(since) {
    /** @type {Job[]} */
    const listed = [];
    /** @type {string | null} */
    let next = "";
    while (next !== null && listed.length < this._count) {
      const before = next && `&before=${encodeURIComponent(next)}`;
      next = null;
      await this._load(`/v1/jobs?limit=${LISTED}${before}`, (page) => {
        listed.push(...page.jobs);
        next = page.next ?? null;
      });
      if (this.problem) return;
    }
    this.hasOlder = next !== null;
    this.jobs = this._merged("jobs", listed, since);
  }

  /** Load one job again: it has just been uploaded. @param {string} id */
  async refresh(id) {
    const since = this._events;
    const job = await requestJson(`/v1/jobs/${encodeURIComponent(id)}`);
    if (!this._isNewer(id, since)) this.jobs.set(id, job);
    this._tell("jobs");
    return this.jobs.get(id) ?? job;
  }

  /** @param {string} path @param {(answer: any) => void} keep */
  async _load(path, keep) {
    try {
      keep(await requestJson(path));
    } catch (error) {
      this.problem = /** @type {Error} */ (error);
    }
  }

  /**
   * An event has reported the newest state of a job or training.
   *
   * @param {"jobs" | "trainings"} kind
   * @param {string} id
   * @param {any} item Null if it was removed.
   */
  _happened(kind, id, item) {
    this._changed.set(id, ++this._events);
    if (item) this[kind].set(id, item);
    else this[kind].delete(id);
    this._tell(kind);
  }

  /**
   * Whether an event about it came after a request was sent, so that the answer may be older than the event.
   *
   * @param {string} id
   * @param {number} since Number of events when the request was sent.
   */
  _isNewer(id, since) {
    return (this._changed.get(id) ?? 0) > since;
  }

  /** @param {"jobs" | "trainings"} kind @param {any[]} listed @param {number} since @returns {Map<string, any>} */
  _merged(kind, listed, since) {
    const items = new Map(listed.filter(({ id }) => !this._isNewer(id, since)).map((item) => [item.id, item]));
    for (const [id, item] of this[kind]) if (this._isNewer(id, since)) items.set(id, item);
    return items;
  }

  /** @param {string} event */
  _tell(event) {
    this.dispatchEvent(new Event(event));
  }
}
