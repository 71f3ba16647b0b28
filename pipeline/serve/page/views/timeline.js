/** Timeline: one lane per person, a ruler, the playhead and the visible range. */

import { onThemeChange, personColour, themeColours } from "../colours.js";
import { clock, h, iconButton, oncePerFrame, setAttribute } from "../dom.js";
import { Axis } from "../model/axis.js";
import { BAR, arrange, drawLanes, drawRuler } from "./lanes.js";
import { Pointer } from "./pointer.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("../model/types.js").Segment} Segment */

const RULER = 24;

export class Timeline {
  /**
   * @param {Session} session
   * @param {import("./player.js").Player} player
   * @param {import("./pointer.js").Edit} edit
   */
  constructor(session, player, edit) {
    this.session = session;
    this.player = player;
    this.axis = new Axis(session.scene.video.duration);
    this.withAttention = session.scene.attention;
    /** Draw again before the next frame of the screen. */
    this.redraw = oncePerFrame(() => this._redraw());
    /** @type {import("./lanes.js").Lane[]} */
    this.lanes = [];
    this._theme = themeColours();
    this._hasSize = false;
    this.pointer = new Pointer(this, edit);
    this._build();
    this.pointer.connect();
    this._stopTheme = onThemeChange(() => {
      this._theme = themeColours();
      this.redraw();
    });
    this._resizing = new ResizeObserver(() => this._resized());
    this._resizing.observe(this.scroller);
    for (const event of ["document", "selection", "poses"]) session.addEventListener(event, this.redraw);
    player.addEventListener("frame", () => this._movePlayhead());
  }

  close() {
    this._resizing.disconnect();
    this._stopTheme();
  }

  /** @param {number} factor */
  zoom(factor) {
    const { axis, player } = this;
    const isVisible = player.time >= axis.start && player.time <= axis.end;
    axis.zoom(factor, isVisible ? player.time : (axis.start + axis.end) / 2);
    this.redraw();
  }

  fit() {
    this.axis.show(0, this.axis.duration);
    this.redraw();
  }

  /** Bring a span and the lane of a person into view. @param {Segment} segment */
  reveal(segment) {
    const { axis } = this;
    const span = segment.end - segment.start;
    if (segment.start < axis.start || segment.end > axis.end) {
      const shown = Math.max(axis.span, span * 1.5);
      const middle = (segment.start + segment.end) / 2;
      axis.show(middle - shown / 2, middle + shown / 2);
    }
    this.revealLane(segment.person);
    this.redraw();
  }

  /** Bring the lane of a person into view. @param {import("../model/types.js").PersonId | null} person */
  revealLane(person) {
    const { lanes, height } = arrange(this.session, this.withAttention);
    const lane = lanes.find(({ id }) => id === person);
    if (!lane) return;
    const { scrollTop, clientHeight } = this.scroller;
    this.spacer.style.height = `${Math.max(0, height - clientHeight)}px`;
    if (lane.top < scrollTop || lane.top + lane.height > scrollTop + clientHeight) this.scroller.scrollTop = lane.top;
  }

  _build() {
    this.ruler = h("canvas.ruler");
    this.canvas = h("canvas.lanes", { role: "img", "aria-label": "Segments of each person; [ and ] select them" });
    this.gutter = h("div.gutter", { role: "group", "aria-label": "Persons" });
    this.stage = h("div.lane-window", null, this.gutter, this.canvas);
    this.spacer = h("div.lane-spacer");
    this.scroller = h("div.lane-scroller", { onscroll: this.redraw }, this.stage, this.spacer);
    this.playhead = h("div.playhead", { "aria-hidden": "true" });
    this.thumb = h("div.range-thumb");
    this.range = h("div.range", null, this.thumb);
    this.slider = h(
      "div.ruler-slider",
      {
        tabindex: 0,
        role: "slider",
        "aria-label": "Playhead",
        "aria-valuemin": 0,
        "aria-valuemax": this.axis.duration.toFixed(2),
      },
      this.ruler,
    );
    this.body = h(
      "div.timeline-body",
      null,
      h("div.ruler-row", null, h("span.gutter-head", null, "Persons"), this.slider),
      this.scroller,
      h("div.playhead-clip", null, this.playhead),
    );
    const zoom = h(
      "span.button-group",
      { role: "group", "aria-label": "Zoom" },
      iconButton("minus", "Zoom out", "-", () => this.zoom(1 / 1.6)),
      iconButton("fit", "Show the whole clip", "F", () => this.fit()),
      iconButton("plus", "Zoom in", "+", () => this.zoom(1.6)),
    );
    this.element = h(
      "section.timeline",
      { "aria-label": "Timeline" },
      this.body,
      h("div.range-row", null, zoom, this.range),
    );
  }

  _resized() {
    const ratio = devicePixelRatio;
    const width = Math.max(1, this.scroller.clientWidth - this.gutter.offsetWidth);
    const height = this.scroller.clientHeight;
    this.axis.width = width;
    for (const [canvas, tall] of [
      [this.canvas, height],
      [this.ruler, RULER],
    ]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${tall}px`;
    }
    this.stage.style.height = `${height}px`;
    // Before it has a size, nothing can be scrolled.
    if (!this._hasSize) this.revealLane(this.session.person);
    this._hasSize = height > 0;
    this._redraw();
  }

  _redraw() {
    const { session, axis, scroller } = this;
    const { lanes, height } = arrange(session, this.withAttention);
    this.lanes = lanes;
    this.spacer.style.height = `${Math.max(0, height - scroller.clientHeight)}px`;
    const view = { scroll: scroller.scrollTop, height: scroller.clientHeight };
    drawLanes(this._pen(this.canvas), session, lanes, axis, view, this._theme);
    drawRuler(this._pen(this.ruler), axis, RULER, this._theme);
    this._drawGutter(view);
    this.thumb.style.left = `${(axis.start / axis.duration) * 100}%`;
    this.thumb.style.width = `${(axis.span / axis.duration) * 100}%`;
    this._placePlayhead();
  }

  /** @param {HTMLCanvasElement} canvas */
  _pen(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    return context;
  }

  /** @param {{scroll: number, height: number}} view */
  _drawGutter(view) {
    const visible = this.lanes.filter(
      (lane) => lane.top < view.scroll + view.height && lane.top + lane.height > view.scroll,
    );
    while (this.gutter.children.length > visible.length) this.gutter.lastChild?.remove();
    while (this.gutter.children.length < visible.length) {
      const button = h("button.person", null, h("span.chip"), h("span.long", null, "Person "), h("span.name"));
      button.addEventListener("click", () => this.session.selectPerson(button.person));
      this.gutter.append(button);
    }
    visible.forEach((lane, i) => {
      const button = /** @type {any} */ (this.gutter.children[i]);
      button.person = lane.id;
      button.style.transform = `translateY(${lane.top - view.scroll}px)`;
      button.style.height = `${BAR + 12}px`;
      button.firstChild.style.background = personColour(lane.rank);
      button.lastChild.textContent = String(lane.id);
      setAttribute(button, "aria-label", `Person ${lane.id}`);
      setAttribute(button, "aria-pressed", lane.id === this.session.person);
    });
  }

  _movePlayhead() {
    if (this.player.playing && !this.pointer.isDragging && this.axis.reveal(this.player.time)) this.redraw();
    this._placePlayhead();
  }

  _placePlayhead() {
    const { time } = this.player;
    this.playhead.style.transform = `translateX(${this.axis.x(time)}px)`;
    setAttribute(this.slider, "aria-valuenow", time.toFixed(2));
    setAttribute(this.slider, "aria-valuetext", clock(time));
  }
}
