/** The page: its frame, its routes, and the one stream of events. */

import { counted, h, setAttribute, toast } from "./dom.js";
import { Session } from "./model/session.js";
import { Service } from "./service.js";
import { Uploads } from "./uploads.js";
import { Help } from "./views/help.js";
import { JobList } from "./views/jobs.js";
import { Review } from "./views/review.js";
import { DropZone, login, unfinished, welcome } from "./views/start.js";
import { Trainings } from "./views/training.js";
import { Workspace } from "./views/workspace.js";

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.service = new Service();
    this.uploads = new Uploads();
    this.jobs = new JobList(this.service, this.uploads);
    this.drop = new DropZone(this.service, this.uploads);
    this.help = new Help();
    /** @type {any} What the main part shows. */
    this.view = null;
    /** @type {ReturnType<typeof unfinished> | null} */
    this._waiting = null;
    this._route = 0;
  }

  async start() {
    byId("side").append(this.drop.element, this.jobs.element);
    document.body.append(this.help.element);
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault();
      byId("view").focus();
    });
    byId("help-button").addEventListener("click", () => this._help());
    this.drop.listen();
    this._listen();
    await this.service.start();
    if (!document.querySelector(".login")) this.show();
  }

  /** Show what the address says. */
  async show() {
    const route = ++this._route;
    this.help.element.close();
    const [kind = "", id = "", part = ""] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    if (kind === "job" && this.view instanceof Workspace && this.view.job.id === id) {
      const segment = this.view.session.document.segments.find((one) => one.id === part);
      if (segment) this.view.actions.go(segment);
      return;
    }
    const before = this.view;
    this.view = this._waiting = null;
    await before?.close?.();
    this._showSaving();
    if (route !== this._route) return;
    document.body.dataset.route = kind || "start";
    for (const link of document.querySelectorAll("nav a")) {
      setAttribute(
        link,
        "aria-current",
        link.getAttribute("href") === `#/${kind === "job" ? "" : kind}` ? "page" : null,
      );
    }
    this.jobs.current = kind === "job" ? id : null;
    this.jobs.show();
    if (kind === "job") await this._showJob(id, part || null, route);
    else if (kind === "review") this._put(new Review());
    else if (kind === "training") this._put(new Trainings(this.service, id || null));
    else this._fill(welcome(this.service));
  }

  /** @param {string} id @param {string | null} segment @param {number} route */
  async _showJob(id, segment, route) {
    try {
      const job = this.service.jobs.get(id) ?? (await this.service.refresh(id));
      if (job.state !== "done") {
        this._waiting = unfinished(job);
        this._fill(this._waiting.element);
        return;
      }
      this._fill(h("p.loading", { role: "status" }, "Loading the clip"));
      const session = await Session.open(id);
      if (route !== this._route) return;
      session.addEventListener("save", () => this._showSaving());
      this._put(new Workspace(session, job, segment));
    } catch (error) {
      if (route !== this._route) return;
      console.error(error);
      this._fill(
        h(
          "section.unfinished",
          null,
          h("a.back", { href: "#/" }, "Clips"),
          h("h1", null, "The clip cannot be shown"),
          h("p.problem", null, /** @type {Error} */ (error).message),
        ),
      );
    }
  }

  /** @param {any} view */
  _put(view) {
    this.view = view;
    this._fill(view.element);
    this._showSaving();
  }

  /** @param {Element} element */
  _fill(element) {
    byId("view").replaceChildren(element);
  }

  _listen() {
    addEventListener("hashchange", () => this.show());
    addEventListener("beforeunload", (event) => {
      const isUnsaved = this.view instanceof Workspace && this.view.session.saver.pending;
      if (isUnsaved) this.view.session.saver.flush();
      if (isUnsaved || this.uploads.list.some(({ state }) => state === "sending")) event.preventDefault();
    });
    document.addEventListener("keydown", (event) => {
      const isText = event.target instanceof Element && event.target.matches("input, textarea, select");
      if (event.key === "?" && !isText && !event.ctrlKey && !event.metaKey) this._help();
    });
    // A click on a button leaves the focus where it is, so that the space bar still plays the video.
    document.addEventListener("mousedown", (event) => {
      if (event.target instanceof Element && event.target.closest("button")) event.preventDefault();
    });
    document.addEventListener("click", (event) => {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        if (!(event.target instanceof Node && menu.contains(event.target))) menu.removeAttribute("open");
      }
    });
    this.service.addEventListener("jobs", () => this._jobsChanged());
    this.service.addEventListener("connection", () => this._showConnection());
    this.service.addEventListener("problem", () => this._showConnection());
    this.service.addEventListener("runs", () => {
      if ((document.body.dataset.route ?? "start") === "start" && this.service.loaded)
        this._fill(welcome(this.service));
    });
    this.uploads.addEventListener("change", () => this._showUploads());
    this.uploads.addEventListener("uploaded", (event) => {
      this.service
        .refresh(/** @type {CustomEvent} */ (event).detail)
        .catch((/** @type {Error} */ error) => toast(error.message, "error"));
    });
  }

  _help() {
    const groups = this.view instanceof Workspace ? this.view.keyGroups : [];
    if (groups.length) this.help.toggle(groups);
    else toast("Open a clip first: the keys work on the clip that is open.");
  }

  _jobsChanged() {
    const job = this.service.jobs.get(this.jobs.current ?? "");
    if (!this.jobs.current || !this.service.loaded) return;
    if (!job) {
      if (this._waiting || this.view) location.hash = "#/";
    } else if (this._waiting) {
      if (job.state === "done") this.show();
      else this._waiting.update(job);
    }
  }

  _showConnection() {
    const { problem, connected } = this.service;
    const banner = byId("banner");
    const isLocked = /** @type {any} */ (problem)?.status === 401;
    document.body.classList.toggle("locked", isLocked);
    if (isLocked && !document.querySelector(".login")) this._fill(login());
    const lost = connected || isLocked ? "" : "The connection to the service is lost; trying again.";
    const text = isLocked ? "" : (problem?.message ?? lost);
    banner.textContent = text;
    banner.hidden = !text;
  }

  _showUploads() {
    const active = this.uploads.list.filter(({ state }) => state !== "failed");
    const share = active.reduce((sum, one) => sum + one.share, 0) / Math.max(1, active.length);
    document.title = active.length
      ? `${Math.round(share * 100)} % · ${counted(active.length, "upload")} · skelpipe`
      : "skelpipe";
  }

  _showSaving() {
    const session = this.view instanceof Workspace ? this.view.session : null;
    const state = session?.saveState ?? "saved";
    const texts = {
      saved: session ? "Saved" : "",
      saving: "Saving",
      waiting: "Not saved",
      conflict: "Changed elsewhere",
    };
    const output = byId("saving");
    output.dataset.state = state;
    output.textContent = texts[state];
    output.title = session?.saveProblem ?? "";
    if (state === "waiting" && session?.saveProblem) toast(`Not saved: ${session.saveProblem}`, "error");
    byId("conflict")?.remove();
    if (state === "conflict" && session) document.body.append(conflict(session));
  }
}

/** Ask which version to keep. @param {Session} session */
function conflict(session) {
  const element = h(
    "div.conflict",
    { id: "conflict", role: "alertdialog", "aria-label": "Changed elsewhere" },
    h("p", null, "Another window has changed the corrections of this clip."),
    h("button.primary", { onclick: () => session.reload().then(() => element.remove()) }, "Show those"),
    h("button", { onclick: () => session.overwrite().then(() => element.remove()) }, "Keep mine"),
  );
  return element;
}

new Page().start();
