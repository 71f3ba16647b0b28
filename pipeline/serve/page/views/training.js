/** Training: a new recognizer from the corrections, its curves, and the comparison that decides. */

import { request, requestJson } from "../api.js";
import { counted, h, setAttribute, toast } from "../dom.js";
import { charts } from "./chart.js";
import { comparison } from "./comparison.js";
import { Bar } from "./jobs.js";

const EXPORTED_ONLY = "An exported recognizer cannot be trained; serve the run that it was exported from.";

export class Trainings {
  /**
   * @param {import("../service.js").Service} service
   * @param {string | null} id Training to show; null for the newest.
   */
  constructor(service, id) {
    this._service = service;
    this._id = id;
    this._form = new Form(service);
    this._list = h("ul.training-list", { "aria-label": "Trainings" });
    this._detail = h("div.training-detail");
    this.element = h(
      "section.page",
      null,
      h("h1", null, "Training"),
      this._form.element,
      h("h2", null, "Trainings"),
      this._list,
      this._detail,
    );
    this._stop = new AbortController();
    const { signal } = this._stop;
    service.addEventListener("trainings", () => this._show(), { signal });
    for (const event of ["jobs", "runs"]) service.addEventListener(event, () => this._form.update(), { signal });
    this._show();
    // Clips may have been corrected in another window.
    service.reload();
  }

  close() {
    this._stop.abort();
  }

  _show() {
    const all = [...this._service.trainings.values()].sort((a, b) =>
      String(b.created).localeCompare(String(a.created)),
    );
    const chosen = all.find(({ id }) => id === this._id) ?? all[0];
    const rows = all.map((training) => {
      const link = h(
        "a",
        { href: `#/training/${encodeURIComponent(training.id)}` },
        nameOf(training),
        " ",
        h("span.state", null, stateOf(training)),
      );
      link.lastChild.classList.add(training.state);
      setAttribute(link, "aria-current", training === chosen ? "page" : null);
      return h("li", null, link);
    });
    this._list.replaceChildren(...(rows.length ? rows : [h("li.muted", null, "None yet.")]));
    this._detail.replaceChildren(...(chosen ? detail(chosen) : []));
  }
}

/** What to train on, from which recognizer. */
class Form {
  /** @param {import("../service.js").Service} service */
  constructor(service) {
    this._service = service;
    /** @type {{job: string, name: string, segments: number}[]} Clips with segments to learn from. */
    this._corrected = [];
    this._seen = "";
    /** @type {Set<string>} Clips that are left out. */
    this._left = new Set();
    this._hasChosen = false;
    this._run = h("select", { "aria-label": "Start from", onchange: () => (this._hasChosen = true) });
    this._epochs = h("input", { type: "number", min: 1, max: 1000, placeholder: "as before", "aria-label": "Epochs" });
    this._clips = h("ul.clip-choice");
    this._note = h("p.muted", { role: "status" });
    this._button = h("button.primary", { onclick: () => this._start() }, "Train");
    this.element = h(
      "form.training-form",
      { onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
      h(
        "p",
        null,
        "Training starts from a recognizer and continues with your reviewed segments. You decide at the end.",
      ),
      h(
        "div.form-row",
        null,
        h("label", null, h("span", null, "Start from"), this._run),
        h("label", null, h("span", null, "Epochs"), this._epochs),
      ),
      h("fieldset", null, h("legend", null, "Reviewed clips"), this._clips),
      h("div.form-end", null, this._button, this._note),
    );
    this.update();
  }

  /** Ask for the clips with segments to learn from if any of the listed ones has changed. */
  async update() {
    const seen = [...this._service.jobs.values()].map(({ id, reviewed }) => `${id} ${reviewed}`).join();
    if (seen !== this._seen) {
      this._seen = seen;
      try {
        this._corrected = await requestJson("/v1/corrections");
      } catch (error) {
        toast(/** @type {Error} */ (error).message, "error");
      }
    }
    this.show();
  }

  show() {
    // An exported recognizer has no weights to start from.
    const runs = this._service.runs.filter(({ exported }) => !exported);
    const chosen = this._run.value;
    this._run.replaceChildren(...runs.map((run) => h("option", { value: run.id, selected: run.default }, run.name)));
    if (this._hasChosen && runs.some(({ id }) => id === chosen)) this._run.value = chosen;
    this._clips.replaceChildren(
      ...this._corrected.map(({ job, name, segments }) => {
        const box = h("input", {
          type: "checkbox",
          checked: !this._left.has(job),
          onchange: () => this._choose(job, box.checked),
        });
        const count = h("span.muted", null, ` ${counted(segments, "segment")}`);
        return h("li", null, h("label.check", null, box, name, count));
      }),
    );
    this._chosen = this._corrected.filter(({ job }) => !this._left.has(job));
    const total = this._chosen.reduce((sum, { segments }) => sum + segments, 0);
    setAttribute(this._button, "disabled", !total || !runs.length);
    this._note.textContent = this._service.runs.length && !runs.length ? EXPORTED_ONLY : this._summary(total);
  }

  /** @param {number} total Number of segments. */
  _summary(total) {
    return total
      ? `${counted(total, "segment")} in ${counted(this._chosen?.length ?? 0, "clip")}.`
      : "Confirm or correct some segments first; the review list is a good start.";
  }

  /** @param {string} id @param {boolean} isIn */
  _choose(id, isIn) {
    if (isIn) this._left.delete(id);
    else this._left.add(id);
    this.show();
  }

  async _start() {
    const jobs = this._left.size ? (this._chosen ?? []).map(({ job }) => job) : "all";
    const epochs = Number(this._epochs.value);
    const settings = epochs > 0 ? { "training.phase1_epochs": epochs } : {};
    setAttribute(this._button, "disabled", true);
    try {
      const { id } = await requestJson("/v1/trainings", {
        method: "POST",
        json: { run: this._run.value, jobs, settings },
      });
      await this._service.reload();
      location.hash = `#/training/${encodeURIComponent(id)}`;
    } catch (error) {
      toast(/** @type {Error} */ (error).message, "error");
    }
    this.show();
  }
}

/** @param {any} training @returns {Node[]} */
function detail(training) {
  const bar = new Bar("Epochs");
  const isActive = training.state === "running" || training.state === "queued";
  bar.show(training.epochs_total ? training.epochs_done / training.epochs_total : null, isActive);
  const epochs = training.epochs_total ? `${training.epochs_done} of ${training.epochs_total} epochs` : "";
  const facts = [
    stateOf(training),
    training.run && `from ${training.base_run}`,
    training.clips ? counted(training.clips, "clip") : "",
    isActive ? epochs : "",
  ];
  const problem =
    training.state === "failed" &&
    h("p.problem", null, training.error?.message ?? training.error ?? "No reason was given.");
  const figures = charts(training.curves, training.epochs_total);
  return [
    h("h3", null, nameOf(training)),
    h("p.facts", { role: "status" }, facts.filter(Boolean).join(" · ")),
    bar.element,
    ...(problem ? [problem] : []),
    ...(training.comparison ? comparison(training.comparison) : []),
    buttons(training),
    h("div.figures", null, ...figures),
    ...(training.curves_note ? [h("p.muted", null, `${training.curves_note}.`)] : []),
  ];
}

/** @param {any} training */
function buttons(training) {
  const isActive = training.state === "running" || training.state === "queued";
  const row = h("div.form-end");
  if (training.state === "done" && !training.accepted) {
    row.append(
      h(
        "button.primary",
        { onclick: () => act(training, "POST", "/accept", "The new recognizer is now the default.") },
        "Use the new recognizer",
      ),
    );
  }
  if (!training.accepted) {
    const text = isActive ? "Cancel" : "Discard";
    row.append(
      h("button", { onclick: () => act(training, "DELETE", "", isActive ? "Cancelled." : "Discarded.") }, text),
    );
  }
  return row;
}

/** @param {any} training @param {string} method @param {string} part @param {string} message */
async function act(training, method, part, message) {
  try {
    await request(`/v1/trainings/${encodeURIComponent(training.id)}${part}`, { method });
    toast(message);
  } catch (error) {
    toast(/** @type {Error} */ (error).message, "error");
  }
}

/** @param {any} training */
function stateOf(training) {
  if (training.accepted) return "in use";
  return (
    { queued: "waiting", running: "running", done: "finished", failed: "failed", cancelled: "cancelled" }[
      /** @type {"done"} */ (training.state)
    ] ?? training.state
  );
}

/** A run has a name of its own once it is in use. @param {any} training */
function nameOf(training) {
  return training.run ?? `from ${training.base_run}`;
}
