/** What the user can do with an open clip, by key or by button: one table for both, and for the help. */

import { toast } from "../dom.js";
import * as edits from "../model/edits.js";
import { overlapOf } from "../model/identities.js";
import { clock } from "../dom.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("./player.js").Player} Player */
/** @typedef {import("../model/types.js").PersonId} PersonId */
/** @typedef {import("../model/types.js").Segment} Segment */

/** Seconds of a new segment, and of small and large jumps. */
const NEW = 1;
const JUMP = 1;
const LONG_JUMP = 5;

/** Edits and movements in an open clip. Each reports what is impossible as a message. */
export class Actions {
  /**
   * @param {Session} session
   * @param {Player} player
   * @param {(segment: Segment) => void} reveal Brings a segment into view.
   * @param {(person: PersonId) => void} revealPerson Brings the lane of a person into view.
   */
  constructor(session, player, reveal, revealPerson) {
    this.session = session;
    this.player = player;
    this._reveal = reveal;
    this._revealPerson = revealPerson;
  }

  /**
   * Make an edit and tell what went wrong.
   *
   * @param {string} what
   * @param {(document: import("../model/types.js").Corrections) => import("../model/types.js").Corrections} edit
   * @param {string | null} [select]
   */
  edit(what, edit, select) {
    try {
      this.session.edit(what, edit, select);
      return true;
    } catch (error) {
      if (!(error instanceof edits.EditError)) throw error;
      toast(error.message, "error");
      return false;
    }
  }

  /** @param {string | null} label null for unknown */
  relabel(label) {
    this._withSegment((id) =>
      this.edit(`label ${label ?? edits.UNKNOWN}`, (document) => edits.relabel(document, id, label)),
    );
  }

  confirm() {
    this._withSegment((id) => this.edit("confirmed", (document) => edits.confirm(document, id)));
  }

  reject() {
    this._withSegment((id) => this.edit("rejected", (document) => edits.reject(document, id)));
  }

  split() {
    this._withSegment((id) => this.edit("split", (document) => edits.split(document, id, this.player.time)));
  }

  merge() {
    this._withSegment((id) => this.edit("merged", (document) => edits.merge(document, id)));
  }

  /** Move an edge of the selected segment to the playhead. @param {"start" | "end"} edge */
  setEdge(edge) {
    this._withSegment((id) => {
      const limits = this.session.span(/** @type {Segment} */ (this.session.segment).person);
      this.edit(`moved ${edge}`, (document) => edits.moveEdge(document, id, edge, this.player.time, limits));
    });
  }

  add() {
    const { session, player } = this;
    if (session.person === null) {
      toast("There is no person in this clip to label.", "error");
      return;
    }
    const person = session.person;
    const span = session.span(person);
    const start = Math.max(span.start, Math.min(player.time, span.end - edits.SHORTEST));
    let id = null;
    this.edit("new segment", (document) => {
      const added = edits.add(document, person, start, Math.min(start + NEW, span.end));
      id = added.id;
      return added.document;
    });
    if (id) session.select(edits.segmentById(session.document, id));
  }

  /** @param {PersonId} other */
  swap(other) {
    const { session, player } = this;
    const person = session.person;
    if (person === null) return;
    this.edit(`swapped ${person} and ${other}`, (document) => edits.swap(document, person, other, player.time));
    toast(`Persons ${person} and ${other} are swapped from ${clock(player.time)} on.`);
  }

  /** @param {PersonId} other */
  join(other) {
    const { session } = this;
    const person = session.person;
    if (person === null) return;
    const overlap = overlapOf(session.pieces, person, other);
    if (overlap) {
      const [start, end] = overlap.map((time) => clock(time, 1));
      toast(`Persons ${person} and ${other} are both seen from ${start} to ${end}, so they are two people.`, "error");
      return;
    }
    const first = session.span(person).start <= session.span(other).start ? person : other;
    const second = first === person ? other : person;
    this.edit(`joined ${second} to ${first}`, (document) => edits.join(document, second, first));
    session.selectPerson(first);
    toast(`Person ${second} is now part of person ${first}.`);
  }

  /** @param {string} name */
  addClass(name) {
    const wanted = name.trim();
    const { session } = this;
    const id = session.segment?.id;
    return this.edit(`new class ${wanted}`, (document) => {
      const added = edits.addClass(document, wanted, session.scene.classes);
      return id ? edits.relabel(added, id, wanted) : added;
    });
  }

  undo() {
    const undone = this.session.undo();
    toast(undone ? `Undone: ${undone}` : "There is nothing to undo.");
  }

  redo() {
    const redone = this.session.redo();
    toast(redone ? `Redone: ${redone}` : "There is nothing to redo.");
  }

  /**
   * Select the next or previous segment of the person, or of anyone if the person has none, and show its first frame.
   *
   * @param {1 | -1} direction
   */
  neighbour(direction) {
    const { session, player } = this;
    if (session.person === null) return;
    const own = edits.segmentsOf(session.document, session.person);
    const lane = own.length ? own : [...session.document.segments].sort((a, b) => a.start - b.start);
    const index = session.segment ? lane.findIndex(({ id }) => id === session.segment?.id) : -1;
    let target = lane[index + direction];
    if (index < 0) {
      const later = lane.findIndex((segment) => segment.end > player.time);
      const here = later < 0 ? lane.length : later;
      target = direction > 0 ? (lane[here] ?? lane.at(-1)) : (lane[here - 1] ?? lane[0]);
    }
    if (target) this.go(target);
  }

  /** @param {Segment} segment */
  go(segment) {
    this.session.select(segment);
    this.player.pause();
    if (this.player.loop) this.player.loop = [segment.start, segment.end];
    this.player.seekStart(segment.start);
    this._reveal(segment);
  }

  /** @param {1 | -1} direction */
  person(direction) {
    const ids = this.session.persons.map(({ id }) => id);
    if (!ids.length) return;
    const index = this.session.person === null ? -1 : ids.indexOf(this.session.person);
    const chosen = ids[(index + direction + ids.length) % ids.length];
    this.session.selectPerson(chosen);
    this._revealPerson(chosen);
  }

  /** @param {1 | -1} direction @param {boolean} isLong */
  jump(direction, isLong) {
    this.player.seek(this.player.time + direction * (isLong ? LONG_JUMP : JUMP));
  }

  loop() {
    const { player, session } = this;
    if (player.loop) player.loop = null;
    else if (session.segment) player.loop = [session.segment.start, session.segment.end];
    else toast("Select the segment to repeat first.", "error");
    player.dispatchEvent(new Event("state"));
  }

  /** @param {(id: string) => void} act */
  _withSegment(act) {
    const { session, player } = this;
    // Without a selection, the segment under the playhead is meant.
    if (!session.segment && session.person !== null) {
      session.select(edits.segmentAt(session.document, session.person, player.time));
    }
    if (session.segment) act(session.segment.id);
    else toast("Select a segment first: click it in the timeline, or press ].", "error");
  }
}
