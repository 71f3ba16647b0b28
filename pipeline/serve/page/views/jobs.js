/** List of clips: uploads, then jobs with their progress and their answers. */

import { jobPath, request } from "../api.js";
import { duration, h, iconButton, oncePerFrame, percent, setAttribute, toast } from "../dom.js";

/** @typedef {import("../model/types.js").Job} Job */
/** @typedef {import("../uploads.js").Upload} Upload */

const STATES = {
  queued: "Queued",
  running: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  quarantined: "Set aside",
};
/** Milliseconds in which a second click on "remove" counts. */
const CONFIRMATION = 3000;

export class JobList {
  /** @param {import("../service.js").Service} service @param {import("../uploads.js").Uploads} uploads */
  constructor(service, uploads) {
    this._service = service;
    this._uploads = uploads;
    /** @type {string | null} */
    this.current = null;
    /** @type {Map<string, any>} Row of each job and upload, so that the focus stays during updates. */
    this._rows = new Map();
    this._list = h("ul.job-list", { "aria-label": "Clips" });
    this._empty = h("p.muted.list-empty", null, "No clips yet.");
    this._older = h("button.older", { onclick: () => this._showOlder() }, "Older clips");
    this.element = h("div.jobs", null, this._empty, this._list, this._older);
    const show = oncePerFrame(() => this.show());
    service.addEventListener("jobs", show);
    uploads.addEventListener("change", show);
    this.show();
  }

  show() {
    const jobs = [...this._service.jobs.values()].sort((a, b) => b.created.localeCompare(a.created));
    const keys = new Set();
    const rows = [
      ...this._uploads.list.map((one) =>
        this._row(`upload-${one.id}`, keys, () => new UploadRow(one, this._uploads)).update(one),
      ),
      ...jobs.map((job) => this._row(job.id, keys, () => new JobRow(job.id)).update(job, job.id === this.current)),
    ];
    for (const key of this._rows.keys()) if (!keys.has(key)) this._rows.delete(key);
    // Elements that are in place are not moved, because moving one takes the focus away.
    rows.forEach((row, i) => {
      if (this._list.children[i] !== row.element) this._list.insertBefore(row.element, this._list.children[i] ?? null);
    });
    while (this._list.children.length > rows.length) this._list.lastChild?.remove();
    this._empty.hidden = rows.length > 0;
    this._older.hidden = !this._service.hasOlder;
  }

  /** The focus goes to the first of the clips that are added. */
  async _showOlder() {
    const before = this._list.children.length;
    this._older.disabled = true;
    await this._service.older();
    this.show();
    this._older.disabled = false;
    this._list.children[before]?.querySelector("a")?.focus();
  }

  /** @param {string} key @param {Set<string>} keys @param {() => any} make */
  _row(key, keys, make) {
    keys.add(key);
    let row = this._rows.get(key);
    if (!row) this._rows.set(key, (row = make()));
    return row;
  }
}

class UploadRow {
  /** @param {Upload} one @param {import("../uploads.js").Uploads} uploads */
  constructor(one, uploads) {
    this._detail = h("p.detail");
    this._bar = new Bar(`Upload of ${one.name}`);
    this._retry = h("button.small", { onclick: () => uploads.retry(one) }, "Try again");
    const remove = iconButton("close", `Cancel ${one.name}`, "", () => uploads.remove(one));
    const name = h("span.job-name", null, one.name);
    this._state = h("span.state.uploading");
    const text = h(
      "div.job-text",
      null,
      h("span.job-line", null, name, this._state),
      this._bar.element,
      this._detail,
      this._retry,
    );
    this.element = h("li.job", null, text, remove);
  }

  /** @param {Upload} one */
  update(one) {
    const isFailed = one.state === "failed";
    this._state.textContent = isFailed ? "Not uploaded" : one.state === "waiting" ? "Waiting" : "Uploading";
    this._state.className = `state ${isFailed ? "failed" : "uploading"}`;
    this._bar.show(one.share, !isFailed);
    const texts = {
      waiting: "Follows when another upload has ended",
      sending: one.share < 1 ? percent(one.share) : "Being stored",
      busy: "The service is busy; trying again",
      failed: one.error,
    };
    this._detail.textContent = texts[one.state];
    this._detail.classList.toggle("problem", isFailed);
    this._retry.hidden = !isFailed;
    return this;
  }
}

class JobRow {
  /** @param {string} id */
  constructor(id) {
    this._id = id;
    this._name = h("span.job-name");
    this._state = h("span.state");
    this._detail = h("p.detail");
    this._bar = new Bar("Progress");
    this._link = h(
      "a.job-text",
      null,
      h("span.job-line", null, this._name, this._state),
      this._bar.element,
      this._detail,
    );
    this._remove = iconButton("close", "Remove", "", () => this._removed());
    this._remove.classList.add("remove");
    this.element = h("li.job", null, this._link, this._remove);
    this._asked = 0;
  }

  /** @param {Job} job @param {boolean} isCurrent */
  update(job, isCurrent) {
    this._job = job;
    const isActive = job.state === "running" || job.state === "queued";
    this._name.textContent = job.name;
    this._state.textContent = STATES[job.state];
    this._state.className = `state ${job.state}`;
    setAttribute(this._link, "href", `#/job/${encodeURIComponent(job.id)}`);
    setAttribute(this._link, "aria-current", isCurrent ? "page" : null);
    this.element.classList.toggle("current", isCurrent);
    this._bar.show(job.frames_total ? job.frames_done / job.frames_total : null, job.state === "running");
    const problem = job.state === "failed" || job.state === "quarantined";
    this._detail.textContent = problem ? problemOf(job) : isActive ? progressOf(job) : answersOf(job);
    this._detail.classList.toggle("problem", problem);
    const verb = isActive ? "Cancel" : "Remove";
    if (!this._asked) {
      setAttribute(this._remove, "aria-label", `${verb} ${job.name}`);
      setAttribute(this._remove, "title", verb);
    }
    return this;
  }

  async _removed() {
    const isActive = this._job?.state === "running" || this._job?.state === "queued";
    // A finished clip takes its corrections along, so one click is not enough.
    if (!isActive && !this._asked) {
      this._remove.classList.add("asking");
      setAttribute(this._remove, "aria-label", `Remove ${this._job?.name} with its corrections: press again`);
      setAttribute(this._remove, "title", "Press again to remove the clip with its corrections");
      this._asked = setTimeout(() => {
        this._asked = 0;
        this._remove.classList.remove("asking");
      }, CONFIRMATION);
      return;
    }
    try {
      await request(jobPath(this._id), { method: "DELETE" });
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    }
  }
}

/** A progress bar, without a share while the end is unknown. */
export class Bar {
  /** @param {string} label */
  constructor(label) {
    this._fill = h("span.fill");
    this.element = h(
      "span.progress",
      { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
      this._fill,
    );
  }

  /** @param {number | null} share @param {boolean} isVisible */
  show(share, isVisible) {
    this.element.hidden = !isVisible;
    this.element.classList.toggle("endless", share === null);
    this._fill.style.transform = `scaleX(${share === null ? 0.3 : Math.min(share, 1)})`;
    setAttribute(this.element, "aria-valuenow", share === null ? null : Math.round(share * 100));
  }
}

/** @param {Job} job */
export function progressOf(job) {
  if (job.state === "queued") return "Waiting for the worker";
  const frames = job.frames_total ? `${job.frames_done} of ${job.frames_total} frames` : `${job.frames_done} frames`;
  const stage = job.stage ?? "starting";
  const parts = [stage[0].toUpperCase() + stage.slice(1), job.frames_done ? frames : ""];
  if (job.frames_per_second)
    parts.push(`${job.frames_per_second.toFixed(job.frames_per_second < 10 ? 1 : 0)} frames/s`);
  if (job.seconds_left !== null && job.seconds_left !== undefined) parts.push(`${duration(job.seconds_left)} left`);
  return parts.filter(Boolean).join(" · ");
}

/** @param {Job} job */
export function problemOf(job) {
  const text = typeof job.error === "string" ? job.error : job.error?.message;
  if (text) return text;
  return job.state === "quarantined"
    ? "The clip stopped the worker twice and is not tried again."
    : "No reason was given.";
}

/** @param {Job} job */
export function answersOf(job) {
  if (job.state === "cancelled") return "Stopped before it was finished";
  const labels = new Map();
  for (const { label } of job.answers ?? []) if (label) labels.set(label, (labels.get(label) ?? 0) + 1);
  const text = [...labels.keys()].slice(0, 3).join(", ") || "nobody recognised";
  return job.reviewed ? `${text} · ${job.reviewed} labelled` : text;
}
