/** Pointer on the timeline: select, scrub, drag edges, zoom and pan. */

import { moveEdge, segmentAt, segmentsOf } from "../model/edits.js";
import { BAR } from "./lanes.js";

/** @typedef {import("../model/types.js").Segment} Segment */
/** @typedef {import("../model/types.js").Corrections} Corrections */
/** @typedef {(what: string, edit: (document: Corrections) => Corrections) => void} Edit */
/** @typedef {{time: number, lane: import("./lanes.js").Lane | undefined, isBar: boolean}} Place */

/** Pixels around an edge where it can be grabbed. */
const REACH = 7;

export class Pointer {
  /** @param {import("./timeline.js").Timeline} timeline @param {Edit} edit */
  constructor(timeline, edit) {
    this._timeline = timeline;
    this._edit = edit;
    this.isDragging = false;
  }

  /** Listen to the elements of the timeline. */
  connect() {
    const { canvas, ruler, range, body } = this._timeline;
    ruler.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this._scrub(event));
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this._press(event));
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this._hover(event));
    canvas.addEventListener("dblclick", (/** @type {MouseEvent} */ event) => this._loopAt(event));
    range.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this._dragRange(event));
    body.addEventListener("wheel", (/** @type {WheelEvent} */ event) => this._wheel(event), { passive: false });
  }

  /** @param {MouseEvent} event @returns {Place} */
  _place(event) {
    const box = this._timeline.canvas.getBoundingClientRect();
    const y = event.clientY - box.top + this._timeline.scroller.scrollTop;
    const lane = this._timeline.lanes.find(({ top, height }) => y >= top && y < top + height);
    return { time: this._timeline.axis.time(event.clientX - box.left), lane, isBar: !!lane && y < lane.top + BAR + 8 };
  }

  /** The edge under the pointer; the selected segment first. @param {Place} place */
  _edgeAt({ time, lane, isBar }) {
    if (!lane || !isBar) return null;
    const { axis, session } = this._timeline;
    const reach = (REACH / axis.width) * axis.span;
    const segments = segmentsOf(session.document, lane.id);
    const candidates = session.segment?.person === lane.id ? [session.segment, ...segments] : segments;
    for (const segment of candidates) {
      // Otherwise a short segment would be nothing but edges, and could not be selected.
      if (segment !== session.segment && segment.end - segment.start < 3 * reach) continue;
      if (Math.abs(segment.end - time) <= reach) return { segment, edge: /** @type {const} */ ("end") };
      if (Math.abs(segment.start - time) <= reach) return { segment, edge: /** @type {const} */ ("start") };
    }
    return null;
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    if (!this.isDragging) this._timeline.canvas.classList.toggle("on-edge", !!this._edgeAt(this._place(event)));
  }

  /** @param {PointerEvent} event */
  _press(event) {
    const { session } = this._timeline;
    const place = this._place(event);
    const held = this._edgeAt(place);
    if (held) {
      session.select(held.segment);
      this._dragEdge(event, held.segment, held.edge);
      return;
    }
    if (place.lane) {
      const segment = place.isBar ? segmentAt(session.document, place.lane.id, place.time) : null;
      if (segment) session.select(segment);
      else session.selectPerson(place.lane.id);
    }
    this._scrub(event);
  }

  /** @param {PointerEvent} event */
  _scrub(event) {
    /** @param {PointerEvent} at */
    const seek = (at) => this._timeline.player.seek(this._place(at).time);
    seek(event);
    this._follow(event, seek);
  }

  /** @param {PointerEvent} event @param {Segment} segment @param {"start" | "end"} edge */
  _dragEdge(event, segment, edge) {
    const before = this._timeline.session.document;
    const limits = this._timeline.session.span(segment.person);
    /** @type {number | null} */
    let time = null;
    this._follow(
      event,
      (at) => {
        time = this._place(at).time;
        this._timeline.session.preview(moveEdge(before, segment.id, edge, time, limits));
        this._timeline.player.seek(time);
      },
      (isDone) => {
        const last = time;
        if (isDone && last !== null)
          this._edit("moved edge", (document) => moveEdge(document, segment.id, edge, last, limits));
        else this._timeline.session.preview(null);
      },
    );
  }

  /** @param {PointerEvent} event */
  _dragRange(event) {
    const box = this._timeline.range.getBoundingClientRect();
    /** @param {PointerEvent} at */
    const move = (at) => {
      const middle = ((at.clientX - box.left) / box.width) * this._timeline.axis.duration;
      this._timeline.axis.show(middle - this._timeline.axis.span / 2, middle + this._timeline.axis.span / 2);
      this._timeline.redraw();
    };
    move(event);
    this._follow(event, move);
  }

  /**
   * Follow the pointer until it is released.
   *
   * @param {PointerEvent} event
   * @param {(event: PointerEvent) => void} move
   * @param {(isDone: boolean) => void} [end]
   */
  _follow(event, move, end = () => {}) {
    if (event.button !== 0) return;
    const target = /** @type {HTMLElement} */ (event.currentTarget);
    target.setPointerCapture(event.pointerId);
    this.isDragging = true;
    const stop = new AbortController();
    /** @param {boolean} isDone */
    const finish = (isDone) => {
      stop.abort();
      this.isDragging = false;
      end(isDone);
    };
    target.addEventListener("pointermove", move, { signal: stop.signal });
    target.addEventListener("pointerup", () => finish(true), { signal: stop.signal });
    target.addEventListener("pointercancel", () => finish(false), { signal: stop.signal });
  }

  /** @param {MouseEvent} event */
  _loopAt(event) {
    const { time, lane } = this._place(event);
    const segment = lane && segmentAt(this._timeline.session.document, lane.id, time);
    if (!segment) return;
    this._timeline.player.loop = [segment.start, segment.end];
    this._timeline.player.play();
  }

  /** @param {WheelEvent} event */
  _wheel(event) {
    const box = this._timeline.canvas.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this._timeline.axis.zoom(Math.exp(-event.deltaY / 300), this._timeline.axis.time(event.clientX - box.left));
      this._timeline.redraw();
    } else if (event.deltaX || event.shiftKey) {
      event.preventDefault();
      this._timeline.axis.pan(((event.deltaX || event.deltaY) / this._timeline.axis.width) * this._timeline.axis.span);
      this._timeline.redraw();
    }
  }
}
