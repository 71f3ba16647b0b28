/** An open clip: video with overlay, inspector and timeline. */

import { jobPath, requestJson } from "../api.js";
import { themeColours } from "../colours.js";
import { clock, counted, h, icon, iconButton, oncePerFrame, setAttribute, toast } from "../dom.js";
import { segmentById } from "../model/edits.js";
import { Actions } from "./actions.js";
import { Inspector } from "./inspector.js";
import { bindingsOf, keyHandler } from "./keys.js";
import { drawOverlay } from "./overlay.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("../model/types.js").Job} Job */

export class Workspace {
  /**
   * @param {Session} session
   * @param {Job} job
   * @param {string | null} segment Segment to select.
   */
  constructor(session, job, segment) {
    this.session = session;
    this.job = job;
    this.layers = { skeletons: true, names: true, heat: false };
    this.video = h("video", { src: jobPath(job.id, "video"), preload: "auto", playsinline: true, tabindex: -1 });
    this.video.muted = true;
    this.player = new Player(this.video, session.scene.video, (time) => session.poses.timesAround(time));
    this.actions = new Actions(
      session,
      this.player,
      (segment) => this.timeline.reveal(segment),
      (person) => this.timeline.revealLane(person),
    );
    this.timeline = new Timeline(session, this.player, (what, edit) => this.actions.edit(what, edit));
    this.inspector = new Inspector(session, this.actions);
    this.keyGroups = bindingsOf(this.actions, this);
    this._draw = oncePerFrame(() => this._redraw());
    this._font = themeColours().font;
    this._listening = new AbortController();
    this._resizing = new ResizeObserver(() => this._resized());
    this._layerButtons = this._makeLayerButtons();
    this._build();
    this._listen();
    const first = segmentById(session.document, segment) ?? null;
    if (first) this.actions.go(first);
  }

  /** Finish edits and release the video. */
  async close() {
    this._listening.abort();
    this._resizing.disconnect();
    this.player.close();
    this.timeline.close();
    await this.session.saver.flush();
  }

  /** @param {"skeletons" | "names" | "heat"} layer */
  toggleLayer(layer) {
    if (layer === "heat" && !this.session.scene.attention) {
      toast("The attention was not recorded for this clip. Tick “Attention” before the upload.", "error");
      return;
    }
    this.layers[layer] = !this.layers[layer];
    for (const [name, button] of Object.entries(this._layerButtons)) {
      setAttribute(button, "aria-pressed", this.layers[/** @type {"heat"} */ (name)]);
    }
    this._draw();
  }

  /** Open the next segment of the review list, in this clip or another one. */
  async nextUncertain() {
    await this.session.saver.flush();
    const items = await requestJson("/v1/review");
    /** @param {any} item */
    const isHere = (item) => item.job === this.job.id && item.segment === this.session.segment?.id;
    const item = items[items.findIndex(isHere) + 1] ?? items[0];
    if (!item || (items.length === 1 && isHere(item))) {
      toast("There is no other segment to review.");
      return;
    }
    const segment = item.job === this.job.id ? segmentById(this.session.document, String(item.segment)) : null;
    if (segment) this.actions.go(segment);
    else location.hash = `#/job/${encodeURIComponent(item.job)}/${encodeURIComponent(item.segment)}`;
  }

  _build() {
    this._facts = h("p.facts");
    this.overlay = h("canvas.overlay", { "aria-hidden": "true" });
    this.notice = h("div.stage-notice", { hidden: true });
    const { width, height } = this.session.scene.video;
    this.frame = h("div.picture", null, this.video, this.overlay);
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.frame.style.setProperty("--shape", String(width / height));
    this.frame.addEventListener("click", () => this.player.toggle());
    const stage = h("div.stage", null, this.frame, this.notice);
    this.element = h(
      "div.workspace",
      null,
      this._header(),
      h("div.viewer", null, stage, this._transport()),
      this.inspector.element,
      this.timeline.element,
    );
  }

  _header() {
    const { job } = this;
    const overlay = job.overlay ? [["Overlay video", jobPath(job.id, "overlay.mp4")]] : [];
    const links = [
      ...overlay,
      ["Predictions (JSON)", jobPath(job.id, "result.json")],
      ["Predictions (CSV)", jobPath(job.id, "result.csv")],
      ["Skeletons (PKL)", jobPath(job.id, "result.pkl")],
      ["Corrections of this clip (JSON)", jobPath(job.id, "corrections")],
      ["Corrections of all clips (CSV)", "/v1/corrections.csv"],
    ].map(([text, href]) =>
      h("a", { href, download: href.endsWith("corrections") ? `${job.name}.corrections.json` : "" }, text),
    );
    return h(
      "header.clip-header",
      null,
      h("a.back", { href: "#/", "aria-label": "All clips" }, icon("back"), h("span", null, "Clips")),
      h("h1", null, job.name),
      this._facts,
      iconButton("undo", "Undo", "Z", () => this.actions.undo()),
      iconButton("redo", "Redo", "Shift Z", () => this.actions.redo()),
      h("details.menu", null, h("summary", null, "Export"), h("div.menu-list", null, ...links)),
    );
  }

  _transport() {
    const { actions, player } = this;
    this._playButton = iconButton("play", "Play", "Space", () => player.toggle());
    this._playButton.classList.add("primary");
    this._loopButton = iconButton("loop", "Repeat the segment", "R", () => actions.loop());
    this._clock = h("output.clock", { "aria-live": "off" });
    this._speed = h(
      "select",
      {
        "aria-label": "Speed",
        onchange: () => player.setSpeed(Number(this._speed.value)),
      },
      ...player.speeds.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`)),
    );
    return h(
      "div.transport",
      { role: "toolbar", "aria-label": "Playback" },
      h(
        "span.button-group",
        null,
        iconButton("previous", "Previous segment", "[", () => actions.neighbour(-1)),
        iconButton("stepBack", "Previous frame", ",", () => player.step(-1)),
        this._playButton,
        iconButton("stepForward", "Next frame", ".", () => player.step(1)),
        iconButton("next", "Next segment", "]", () => actions.neighbour(1)),
      ),
      this._clock,
      this._loopButton,
      this._speed,
      h("span.spring"),
      h("span.button-group.layers", null, ...Object.values(this._layerButtons)),
    );
  }

  _makeLayerButtons() {
    /** @param {"skeletons" | "names" | "heat"} name @param {string} text @param {string} title */
    const layer = (name, text, title) =>
      h("button.toggle", { "aria-pressed": this.layers[name], title, onclick: () => this.toggleLayer(name) }, text);
    const buttons = {
      skeletons: layer("skeletons", "Skeletons", "Draw the skeletons"),
      names: layer("names", "Names", "Draw ids and actions"),
      heat: layer("heat", "Attention", "Draw the attention of the joints (H)"),
    };
    buttons.heat.hidden = !this.session.scene.attention;
    return buttons;
  }

  _listen() {
    const { player, session } = this;
    const { signal } = this._listening;
    // At once, not with the next frame of the screen: this is the moment in which the picture appears.
    player.addEventListener("frame", () => this._redraw());
    player.addEventListener("state", () => this._showState());
    player.addEventListener("problem", () => this._showProblem());
    for (const event of ["document", "selection", "poses"]) session.addEventListener(event, this._draw);
    session.addEventListener("document", () => this._showFacts());
    session.addEventListener("selection", () => this._followLoop());
    document.addEventListener("keydown", keyHandler(this.keyGroups), { signal });
    this._resizing.observe(this.frame);
    this._showState();
    this._showFacts();
  }

  _resized() {
    this.overlay.width = Math.max(1, Math.round(this.frame.clientWidth * devicePixelRatio));
    this.overlay.height = Math.max(1, Math.round(this.frame.clientHeight * devicePixelRatio));
    this._draw();
  }

  _redraw() {
    const { overlay, session, player, layers } = this;
    const drawn = drawOverlay(overlay, session, player.time, layers, this._font);
    overlay.dataset.time = drawn ? String(drawn.time) : "";
    overlay.dataset.persons = drawn ? String(drawn.persons) : "";
    this._clock.textContent = `${clock(player.time)} / ${clock(player.duration)}`;
    this.inspector.showTime(player.time);
  }

  _showFacts() {
    const { job, session } = this;
    const together = [...new Set(session.scene.together.map(({ label }) => label))].join(", ");
    const all = session.document.segments;
    const reviewed = all.length ? `${all.filter((one) => one.reviewed).length} of ${all.length} reviewed` : "";
    const persons = counted(session.persons.length, "person");
    const parts = [
      persons,
      clock(session.scene.video.duration, 1),
      job.run,
      together && `together: ${together}`,
      reviewed,
    ];
    this._facts.textContent = parts.filter(Boolean).join(" · ");
  }

  _showState() {
    const { player } = this;
    const label = player.playing ? "Pause" : "Play";
    this._playButton.replaceChildren(icon(player.playing ? "pause" : "play"));
    setAttribute(this._playButton, "aria-label", label);
    setAttribute(this._loopButton, "aria-pressed", player.loop !== null);
    this._speed.value = String(player.speed);
  }

  _followLoop() {
    const { player, session } = this;
    if (player.loop && session.segment) player.loop = [session.segment.start, session.segment.end];
  }

  _showProblem() {
    this.notice.hidden = false;
    this.notice.textContent = "This browser cannot play the video. The skeletons are shown without it.";
    this.video.hidden = true;
  }
}
