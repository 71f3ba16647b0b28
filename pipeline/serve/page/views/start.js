/** Start: where clips are dropped, with the settings of the next upload; and a clip that has no result (yet). */

import { jobPath, request } from "../api.js";
import { h, icon, setAttribute, toast } from "../dom.js";
import { filesOf } from "../uploads.js";
import { Bar, problemOf, progressOf } from "./jobs.js";

/** Seconds of a window if the user chooses none: most everyday actions are shorter. */
const WINDOWS = "3";

export class DropZone {
  /** @param {import("../service.js").Service} service @param {import("../uploads.js").Uploads} uploads */
  constructor(service, uploads) {
    this._service = service;
    this._uploads = uploads;
    /** @param {boolean} isFolder */
    const chooser = (isFolder) => {
      const properties = {
        type: "file",
        multiple: true,
        hidden: true,
        webkitdirectory: isFolder,
        accept: isFolder ? null : "video/*,.mkv,.avi,.ts,.mts",
      };
      const input = h("input", { ...properties, onchange: () => this._chosen(input) });
      return input;
    };
    this._files = chooser(false);
    this._folder = chooser(true);
    this._files.dataset.for = "videos";
    /** Whether the user has chosen a recognizer, instead of the default one. */
    this._hasChosen = false;
    const choose = () => {
      this._hasChosen = true;
      this._showAttention();
    };
    this._run = h("select", { "aria-label": "Recognizer", onchange: choose });
    this._mode = h(
      "select",
      { "aria-label": "Answers" },
      h("option", { value: WINDOWS }, "over time"),
      h("option", { value: "1.5" }, "over time, short actions"),
      h("option", { value: "" }, "one per person"),
    );
    this._explain = h("input", { type: "checkbox" });
    this.element = h(
      "section.drop",
      { "aria-label": "New clips" },
      h(
        "div.drop-target",
        null,
        icon("upload"),
        h("p.drop-title", null, "Drop videos or a folder"),
        h(
          "div.drop-buttons",
          null,
          h("button.primary", { onclick: () => this._files.click() }, "Choose videos"),
          h("button", { onclick: () => this._folder.click() }, "Choose a folder"),
        ),
        this._files,
        this._folder,
      ),
      h(
        "div.drop-settings",
        null,
        h("label", null, h("span", null, "Recognizer"), this._run),
        h("label", null, h("span", null, "Answers"), this._mode),
        h(
          "label.check",
          { title: "Records which joints the recognizer attends to; takes a little longer" },
          this._explain,
          "Attention",
        ),
      ),
    );
    service.addEventListener("runs", () => this._showRuns());
    this._showRuns();
  }

  /** Accept files anywhere on the page. */
  listen() {
    let depth = 0;
    /** @param {number} change */
    const show = (change) => {
      depth = Math.max(0, depth + change);
      document.body.classList.toggle("dropping", depth > 0);
    };
    document.addEventListener("dragenter", (event) => {
      // Accepted here, too: the page may change below the pointer after the last "dragover", and a drop
      // on an element that was only entered is lost otherwise.
      event.preventDefault();
      if (event.dataTransfer?.types.includes("Files")) show(1);
    });
    document.addEventListener("dragleave", () => show(-1));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      show(-depth);
      if (!event.dataTransfer) return;
      const { files, unreadable } = await filesOf(event.dataTransfer);
      if (files.length || !unreadable.length) this.upload(files);
      if (unreadable.length) toast(problemWith(unreadable), "error");
    });
  }

  /** @param {File[]} files */
  upload(files) {
    const settings = Object.fromEntries(
      Object.entries({
        run: this._run.value,
        windows: this._mode.value,
        per_person: "true",
        explain: this._explain.checked ? "true" : "",
      }).filter(([, value]) => value),
    );
    const skipped = this._uploads.add(files, settings);
    if (skipped === files.length) toast("There is no video among these files.", "error");
    // As long as an error: who drops a large folder looks at the list of uploads first.
    else if (skipped) toast(`${skipped} of ${files.length} files are not videos and were left out.`, "note", 12);
  }

  /** @param {HTMLInputElement} input */
  _chosen(input) {
    this.upload([...(input.files ?? [])]);
    input.value = "";
  }

  _showRuns() {
    const chosen = this._run.value;
    const { runs } = this._service;
    const name = (/** @type {any} */ run) => (run.default ? `${run.name} (default)` : run.name);
    this._run.replaceChildren(...runs.map((run) => h("option", { value: run.id, selected: run.default }, name(run))));
    if (this._hasChosen && runs.some(({ id }) => id === chosen)) this._run.value = chosen;
    setAttribute(this._run, "disabled", runs.length < 2);
    this._showAttention();
  }

  /** An exported recognizer has no attention. */
  _showAttention() {
    const exported = this._service.runs.find(({ id }) => id === this._run.value)?.exported === true;
    if (exported) this._explain.checked = false;
    setAttribute(this._explain, "disabled", exported);
  }
}

/** @param {string[]} unreadable Names of files and folders of a drop, at least one. */
function problemWith(unreadable) {
  const [first, ...others] = unreadable;
  const what = others.length ? `“${first}” and ${others.length} more` : `“${first}”`;
  return `The browser may not read ${what}. Check that they are still there and that you may open them.`;
}

/** What the main part shows while no clip is open. @param {import("../service.js").Service} service */
export function welcome(service) {
  const run = service.runs.find((one) => one.default) ?? service.runs[0];
  const names = run?.classes ?? [];
  const list = names.slice(0, 12).join(", ") + (names.length > 12 ? ` and ${names.length - 12} more` : "");
  // Null until the service has looked at the recognizer.
  const others =
    run?.unknown === true
      ? " It calls other movements unknown."
      : run?.unknown === false
        ? " It reports nothing as unknown: other movements get the most similar of these names."
        : "";
  const known = `The recognizer “${run?.name}” knows ${names.length} actions: ${list}.${others}`;
  return h(
    "section.welcome",
    null,
    h("h1", null, "Who does what, and when"),
    h("p", null, "Drop a video. skelpipe finds the people in it, follows them, and names their actions."),
    h(
      "ol.steps",
      null,
      h("li", null, h("b", null, "Look. "), "Open a finished clip; the timeline has a lane for each person."),
      h(
        "li",
        null,
        h("b", null, "Correct. "),
        "Press a digit to change a label, drag edges, reject what is wrong. Everything can be undone.",
      ),
      h(
        "li",
        null,
        h("b", null, "Train. "),
        "A new recognizer learns from your corrections and is compared with the old one before it replaces it.",
      ),
    ),
    run && h("p.muted", { role: "status" }, names.length ? known : `The recognizer “${run.name}” is being loaded.`),
    h("p.muted", null, "Press ", h("kbd", null, "?"), " for all keys."),
  );
}

/** Ask for the token of a protected service; it becomes a cookie. */
export function login() {
  const field = h("input", {
    type: "password",
    name: "token",
    autocomplete: "current-password",
    "aria-label": "Token",
    required: true,
  });
  /** @param {Event} event */
  const enter = (event) => {
    event.preventDefault();
    location.assign(`/?token=${encodeURIComponent(field.value.trim())}`);
  };
  return h(
    "section.unfinished",
    null,
    h("h1", null, "This service is protected"),
    h("p", null, "Enter its token. `skelpipe serve` printed an address that contains it."),
    h("form.login", { onsubmit: enter }, field, h("button.primary", { type: "submit" }, "Open")),
  );
}

/**
 * A clip without a result: it is waiting, running, or has failed. `update` shows its next state.
 *
 * @param {import("../model/types.js").Job} job
 */
export function unfinished(job) {
  const bar = new Bar("Progress");
  const title = h("h1", null, job.name);
  const text = h("p.detail");
  const button = h("button", { onclick: () => cancel(job.id) }, "Cancel");
  const element = h(
    "section.unfinished",
    null,
    h("a.back", { href: "#/" }, icon("back"), "Clips"),
    title,
    h("div.status", { role: "status" }, text),
    bar.element,
    button,
  );
  /** @param {import("../model/types.js").Job} now */
  const update = (now) => {
    const isActive = now.state === "queued" || now.state === "running";
    const hasFailed = now.state === "failed" || now.state === "quarantined";
    element.dataset.state = now.state;
    text.textContent = isActive ? progressOf(now) : hasFailed ? problemOf(now) : "The clip was cancelled.";
    text.classList.toggle("problem", hasFailed);
    bar.show(now.frames_total ? now.frames_done / now.frames_total : null, isActive);
    button.hidden = !isActive;
  };
  update(job);
  return { element, update };
}

/** @param {string} id */
async function cancel(id) {
  try {
    await request(jobPath(id), { method: "DELETE" });
  } catch (error) {
    toast(/** @type {Error} */ (error).message, "error");
  }
}
