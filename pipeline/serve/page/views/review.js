/** Review: the least certain segments of all clips, most uncertain first. */

import { requestJson } from "../api.js";
import { clock, counted, h, percent } from "../dom.js";
import { UNKNOWN } from "../model/edits.js";

/** Rows that are shown; nobody reviews more in one sitting. */
const SHOWN = 200;

export class Review {
  constructor() {
    this._count = h("p.muted", { role: "status" });
    this._rows = h("tbody");
    const heads = ["Label", "Certainty", "Clip", "Person", "Time"].map((text) => h("th", { scope: "col" }, text));
    this._table = h("table.review", null, h("thead", null, h("tr", null, ...heads)), this._rows);
    this.element = h(
      "section.page",
      null,
      h("h1", null, "Review"),
      h(
        "p",
        null,
        "The segments that the recognizer is least certain about. Confirm or correct them, and train on them.",
      ),
      this._count,
      h("div.table-scroll", null, this._table),
    );
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this._moved(event));
    this._load();
  }

  close() {}

  async _load() {
    this._count.textContent = "Loading";
    try {
      const answer = await requestJson("/v1/review");
      this._show(Array.isArray(answer) ? answer : answer.segments);
    } catch (error) {
      this._count.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {any[]} items */
  _show(items) {
    this._table.hidden = !items.length;
    const more = items.length > SHOWN ? `; the first ${SHOWN} are listed` : "";
    this._count.textContent = items.length
      ? `${counted(items.length, "segment")}${more}.`
      : "There is nothing to review.";
    this._rows.replaceChildren(...items.slice(0, SHOWN).map((item) => rowOf(item)));
    this._rows.querySelector("a")?.focus();
  }

  /** @param {KeyboardEvent} event */
  _moved(event) {
    const direction = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const row = document.activeElement?.closest("tr");
    if (!direction || !row) return;
    event.preventDefault();
    const next = direction > 0 ? row.nextElementSibling : row.previousElementSibling;
    next?.querySelector("a")?.focus();
  }
}

/** @param {any} item */
function rowOf(item) {
  const href = `#/job/${encodeURIComponent(item.job)}/${encodeURIComponent(item.segment)}`;
  const meter = h("span.meter", null, h("span.fill"));
  // The probability of an unknown action is that of the action that was rejected.
  const name = item.label ?? UNKNOWN;
  const certainty = name === UNKNOWN ? null : item.probability;
  meter.firstChild.style.transform = `scaleX(${certainty ?? 0})`;
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, h("a", { href }, name)),
    h("td.certainty", null, meter, certainty === null ? "" : percent(certainty)),
    h("td", null, item.name),
    h("td.number", null, String(item.person)),
    h("td.number", null, `${clock(item.start, 1)} – ${clock(item.end, 1)}`),
  );
}
