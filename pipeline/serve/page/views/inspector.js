/** Inspector: the selected segment with its classes and edits, and the identities of the persons. */

import { personColour } from "../colours.js";
import { clock, h, icon, percent, setAttribute } from "../dom.js";
import { UNKNOWN, isMade, segmentAt } from "../model/edits.js";
import { ClassRow } from "./class_row.js";
import { rankOf } from "./overlay.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("./actions.js").Actions} Actions */

/** Digits for the first classes of the list. */
const DIGITS = "1234567890";

export class Inspector {
  /** @param {Session} session @param {Actions} actions */
  constructor(session, actions) {
    this.session = session;
    this.actions = actions;
    /** @type {(string | null)[]} Classes in the list, with the filter applied; null for unknown. */
    this._listed = [];
    /** @type {ClassRow[]} */
    this._rows = [];
    /** @type {import("../model/types.js").Segment | null} Segment under the playhead. */
    this._under = null;
    this._time = 0;
    this._build();
    for (const event of ["document", "selection"]) session.addEventListener(event, () => this._show());
    this._show();
  }

  focusFilter() {
    this._filter.focus();
    this._filter.select();
  }

  focusPersons() {
    this._other.focus();
  }

  /** @param {string} digit */
  chooseNumber(digit) {
    const index = DIGITS.indexOf(digit);
    if (index < this._listed.length) this.actions.relabel(this._listed[index]);
  }

  /** Without a selection, show what is under the playhead. @param {number} time */
  showTime(time) {
    this._time = time;
    if (!this.session.segment && this._findUnder() !== this._under) this._show();
  }

  _findUnder() {
    const { document, person } = this.session;
    return person === null ? null : segmentAt(document, person, this._time);
  }

  _build() {
    const { actions } = this;
    this._title = h("h2", { "aria-live": "polite" });
    this._facts = h("p.facts");
    /** @param {string} text @param {string} key @param {string} title @param {() => void} onclick */
    const button = (text, key, title, onclick) =>
      h("button", { title: `${title} (${key})`, onclick }, text, h("kbd", null, key));
    this._confirm = button("Confirm", "↵", "The segment is correct", () => actions.confirm());
    this._reject = button("Reject", "X", "The segment is wrong", () => actions.reject());
    this._edits = h(
      "div.edit-grid",
      { role: "group", "aria-label": "Edit the segment" },
      this._confirm,
      this._reject,
      button("Split", "S", "Split at the playhead", () => actions.split()),
      button("Merge", "M", "Merge with the next segment", () => actions.merge()),
      button("Set start", "I", "Move the start to the playhead", () => actions.setEdge("start")),
      button("Set end", "O", "Move the end to the playhead", () => actions.setEdge("end")),
      h(
        "button.wide",
        { title: "New segment at the playhead (A)", onclick: () => actions.add() },
        icon("plus"),
        "New segment",
        h("kbd", null, "A"),
      ),
    );
    this._filter = h("input", {
      type: "search",
      placeholder: "Find or add a class",
      "aria-label": "Find or add a class",
      autocomplete: "off",
      maxlength: 60,
      oninput: () => this._showClasses(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this._typed(event),
    });
    this._classes = h("ol.classes", { "aria-label": "Classes" });
    this._add = h("button.add-class", { onclick: () => this._addClass() });
    this._other = h("select", { "aria-label": "Other person", onchange: () => this._showPersonButtons() });
    this._swap = h(
      "button",
      {
        title: "Exchange the two persons from the playhead on",
        onclick: () => this._withOther((other) => actions.swap(other)),
      },
      "Swap from here",
    );
    this._join = h(
      "button",
      { title: "Join the two into one person", onclick: () => this._withOther((other) => actions.join(other)) },
      "Join",
    );
    this._personTitle = h("h2");
    this.element = h(
      "aside.inspector",
      { "aria-label": "Selected segment" },
      h("section.segment-part", null, this._title, this._facts, this._edits),
      h("section.class-part", null, this._filter, this._add, this._classes),
      h(
        "section.person-part",
        null,
        this._personTitle,
        h(
          "div.person-row",
          null,
          h("span.muted", null, "with"),
          this._other,
          h("span.pair", null, this._swap, this._join),
        ),
      ),
    );
  }

  _show() {
    this._under = this._findUnder();
    this._showSegment();
    this._showClasses();
    this._showPersons();
  }

  get _current() {
    return this.session.segment ?? this._under;
  }

  _showSegment() {
    const { session } = this;
    const segment = this._current;
    this._edits.classList.toggle("idle", !segment);
    if (!segment) {
      this._title.textContent = session.persons.length ? "No segment here" : "Nobody was found";
      this._facts.textContent = session.persons.length
        ? "Click a segment in the timeline, or press ]."
        : "There are no skeletons in this clip.";
      return;
    }
    this._title.textContent = segment.label ?? UNKNOWN;
    this._title.classList.toggle("struck", segment.rejected);
    const state = segment.rejected ? "rejected" : segment.reviewed ? "reviewed" : this._certainty(segment);
    const span = `${clock(segment.start, 2)} – ${clock(segment.end, 2)}`;
    this._facts.textContent = `Person ${segment.person} · ${span} · ${state}`;
    const verb = segment.rejected ? "Restore" : isMade(segment) ? "Remove" : "Reject";
    /** @type {Text} */ (this._reject.firstChild).data = verb;
    this._confirm.disabled = segment.reviewed && !segment.rejected;
  }

  /** @param {import("../model/types.js").Segment} segment */
  _certainty(segment) {
    const found = this.session.scene.found(segment.id);
    const certainty = percent(this.session.scene.certainty(this.session.pieces, segment));
    if (segment.label !== null) return certainty;
    const score = found?.unknown_score;
    return score === null || score === undefined ? "no known action" : `unknown score ${score.toFixed(2)}`;
  }

  _showClasses() {
    const { session, actions } = this;
    const segment = this._current;
    const wanted = this._filter.value.trim().toLowerCase();
    const names = [...session.classes, null];
    this._listed = names.filter((name) => (name ?? UNKNOWN).toLowerCase().includes(wanted));
    const means =
      segment && session.scene.meanProbabilities(session.pieces, segment.person, segment.start, segment.end);
    if (this._rows.length !== this._listed.length || this._rows.some(({ name }, i) => name !== this._listed[i])) {
      this._rows = this._listed.map((name) => new ClassRow(session, actions, name));
      this._classes.replaceChildren(...this._rows.map(({ element }) => element));
    }
    // Rows that remain are kept, because one of them may have the focus.
    this._rows.forEach((row, index) => {
      const rank = row.name === null ? -1 : names.indexOf(row.name);
      row.update(rank, DIGITS[index] ?? "", means && rank >= 0 ? means[rank] : undefined, segment);
    });
    const isNew = wanted !== "" && !names.some((name) => (name ?? UNKNOWN).toLowerCase() === wanted);
    this._add.hidden = !isNew;
    this._add.textContent = `Add the class “${this._filter.value.trim()}”`;
  }

  _showPersons() {
    const { session } = this;
    const others = session.persons.filter(({ id }) => id !== session.person);
    this._personTitle.replaceChildren(h("span.chip"), session.person === null ? "Nobody" : `Person ${session.person}`);
    const chip = /** @type {HTMLElement} */ (this._personTitle.firstChild);
    chip.style.background = session.person === null ? "transparent" : personColour(rankOf(session, session.person));
    const chosen = this._other.value;
    this._other.replaceChildren(...others.map(({ id }) => h("option", { value: String(id) }, `person ${id}`)));
    if (others.some(({ id }) => String(id) === chosen)) this._other.value = chosen;
    this._showPersonButtons();
  }

  _showPersonButtons() {
    const isAlone = this.session.persons.length < 2;
    for (const control of [this._other, this._swap, this._join]) setAttribute(control, "disabled", isAlone);
  }

  /** @param {(other: import("../model/types.js").PersonId) => void} act */
  _withOther(act) {
    const other = this.session.persons.find(({ id }) => String(id) === this._other.value);
    if (other) act(other.id);
  }

  /** @param {KeyboardEvent} event */
  _typed(event) {
    if (event.key === "Escape") {
      this._filter.value = "";
      this._filter.blur();
      this._showClasses();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (this._listed.length && this._filter.value.trim()) {
        this.actions.relabel(this._listed[0]);
        this._leaveFilter();
      } else if (!this._add.hidden) {
        this._addClass();
      }
    }
  }

  _addClass() {
    if (this.actions.addClass(this._filter.value)) this._leaveFilter();
  }

  _leaveFilter() {
    this._filter.value = "";
    this._filter.blur();
    this._showClasses();
  }
}
