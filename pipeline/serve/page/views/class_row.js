/** A class in the list of the inspector: its colour, its share in the selected segment, its digit. */

import { classColour } from "../colours.js";
import { h, percent, setAttribute } from "../dom.js";
import { UNKNOWN } from "../model/edits.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("./actions.js").Actions} Actions */

export class ClassRow {
  /** @param {Session} session @param {Actions} actions @param {string | null} name null for unknown */
  constructor(session, actions, name) {
    this._session = session;
    this.name = name;
    this._swatch = h("span.swatch");
    this._share = h("span.share");
    this._key = h("kbd");
    this._bar = h("span.bar");
    const text = h("span.class-name", null, name ?? UNKNOWN);
    this._button = h(
      "button.class",
      { onclick: () => actions.relabel(name) },
      this._swatch,
      text,
      this._share,
      this._key,
      this._bar,
    );
    this._curve = h(
      "button.curve-choice",
      {
        "aria-label": `Show the curve of ${name}`,
        title: "Show the probability curve of this class",
        onclick: () => session.showClass(session.shownClass === name ? null : name),
      },
      "∿",
    );
    this.element = h("li", null, this._button, this._curve);
  }

  /**
   * @param {number} rank Place among all classes; negative for unknown.
   * @param {string} key
   * @param {number | undefined} share Mean probability.
   * @param {import("../model/types.js").Segment | null} segment
   */
  update(rank, key, share, segment) {
    const colour = classColour(rank, 1);
    this._swatch.style.background = colour;
    this._bar.style.background = colour;
    this._bar.style.transform = `scaleX(${share ?? 0})`;
    this._share.textContent = share === undefined ? "" : percent(share);
    this._key.textContent = key;
    setAttribute(this._button, "aria-pressed", !!segment && segment.label === this.name);
    setAttribute(this._curve, "aria-pressed", this._session.curveClass === this.name);
    this._curve.hidden = rank < 0 || rank >= this._session.scene.classes.length;
  }
}
