/** One open clip: its skeletons, its corrections with undo, and what is selected. */

import { jobPath, request, requestJson } from "../api.js";
import * as edits from "./edits.js";
import { stretched } from "./heat.js";
import * as histories from "./history.js";
import { personsOf, piecesOf } from "./identities.js";
import { PoseCache } from "./poses.js";
import { Saver, loadCorrections, loadScene } from "./saving.js";
import { Scene } from "./scene.js";

/** @typedef {import("./types.js").Corrections} Corrections */
/** @typedef {import("./types.js").PersonId} PersonId */
/** @typedef {import("./types.js").Segment} Segment */

/**
 * Events: "document" after an edit, "selection" when a segment, person or class is selected, "poses" when skeletons or
 * attention have arrived, "save" when the state of saving changes.
 */
export class Session extends EventTarget {
  /** @param {string} job @returns {Promise<Session>} */
  static async open(job) {
    const [scene, corrections] = await Promise.all([loadScene(job), loadCorrections(job)]);
    return new Session(job, new Scene(scene), corrections.document, corrections.etag);
  }

  /** @param {string} job @param {Scene} scene @param {Corrections} document @param {string} etag */
  constructor(job, scene, document, etag) {
    super();
    this.job = job;
    this.scene = scene;
    /** @type {histories.History<Corrections>} */
    this.history = histories.begin(document);
    /** @type {Corrections | null} An edit in progress. */
    this.draft = null;
    /** @type {import("./types.js").Piece[]} */
    this.pieces = [];
    /** @type {import("./types.js").Track[]} */
    this.persons = [];
    /** @type {Corrections["identities"] | null} Those of which pieces and persons were made. */
    this._identities = null;
    this.saver = new Saver(job, etag, (state, problem) => this._setSaveState(state, problem));
    this.poses = new PoseCache(
      (start, end) => this._loadPoses(start, end),
      scene.video.duration,
      () => this._tell("poses"),
    );
    /** @type {import("./saving.js").SaveState} */
    this.saveState = "saved";
    this.saveProblem = "";
    this._refresh();
    /** @type {Segment | null} */
    this.segment = null;
    const hasSegments = (/** @type {{id: PersonId}} */ { id }) => edits.segmentsOf(document, id).length > 0;
    /** @type {PersonId | null} Persons who are seen too briefly for an action have no segments. */
    this.person = (this.persons.find(hasSegments) ?? this.persons[0])?.id ?? null;
    /** @type {string | null} Class whose probability is drawn; null for that of the selected segment. */
    this.shownClass = null;
    /** @type {Map<PersonId, {times: number[], values: number[][]} | null>} Null while loading. */
    this._attention = new Map();
  }

  /** @returns {Corrections} */
  get document() {
    return this.draft ?? this.history.present;
  }

  /** Classes of the recognizer, then those that were added. */
  get classes() {
    return [...this.scene.classes, ...this.document.classes.filter((name) => !this.scene.classes.includes(name))];
  }

  /** Class whose probability curve is drawn: the chosen one, or that of the selected segment. */
  get curveClass() {
    if (this.shownClass !== null) return this.shownClass;
    if (!this.segment) return this.scene.classes[0] ?? null;
    return this.segment.label ?? this.scene.mostProbable(this.pieces, this.segment);
  }

  /** @param {PersonId} person */
  span(person) {
    return this.persons.find(({ id }) => id === person) ?? { id: person, start: 0, end: this.scene.video.duration };
  }

  /**
   * Make an edit that can be undone.
   *
   * @param {string} what Name of the edit, for the undo button.
   * @param {(document: Corrections) => Corrections} edit
   * @param {string | null} [select] Segment to select afterwards.
   * @throws {edits.EditError} The edit is impossible; nothing has changed.
   */
  edit(what, edit, select) {
    const document = edit(this.history.present);
    this.draft = null;
    this.history = histories.record(this.history, document, what);
    this._changed(select);
  }

  /** Show an edit without recording it, during a drag. @param {Corrections | null} document */
  preview(document) {
    this.draft = document;
    this._refresh();
    this.segment = edits.segmentById(this.document, this.segment?.id ?? null);
    this._tell("document");
  }

  undo() {
    this.draft = null;
    const undone = this.history.past.at(-1)?.what;
    this.history = histories.undo(this.history);
    if (undone) this._changed();
    return undone ?? null;
  }

  redo() {
    const redone = this.history.future.at(-1)?.what;
    this.history = histories.redo(this.history);
    if (redone) this._changed();
    return redone ?? null;
  }

  /** @param {Segment | null} segment */
  select(segment) {
    this.segment = segment;
    if (segment) this.person = segment.person;
    this._tell("selection");
  }

  /** @param {PersonId} person */
  selectPerson(person) {
    this.person = person;
    if (this.segment?.person !== person) this.segment = null;
    this._tell("selection");
  }

  /** @param {string | null} name */
  showClass(name) {
    this.shownClass = name;
    this._tell("selection");
  }

  /**
   * Attention of the joints of a track, stretched for colours; null while it is loading, or if there is none.
   *
   * @param {PersonId} track
   */
  attention(track) {
    if (!this.scene.attention) return null;
    const held = this._attention.get(track);
    if (held === undefined) {
      this._attention.set(track, null);
      requestJson(jobPath(this.job, `attention?person=${encodeURIComponent(track)}`)).then(
        (answer) => {
          this._attention.set(track, stretched(answer));
          this._tell("poses");
        },
        // Without an answer there is no heat; the skeletons remain.
        () => this._attention.set(track, { times: [], values: [] }),
      );
    }
    return held ?? null;
  }

  /** Take over what another window has saved. */
  async reload() {
    const { document, etag } = await loadCorrections(this.job);
    this.saver = new Saver(this.job, etag, (state, problem) => this._setSaveState(state, problem));
    this.history = histories.begin(document);
    this.draft = null;
    this.segment = null;
    this._refresh();
    this._setSaveState("saved");
    this._tell("document");
  }

  /** Overwrite what another window has saved. */
  async overwrite() {
    await this.saver.overwrite(this.history.present);
  }

  /** @param {number} start @param {number} end */
  async _loadPoses(start, end) {
    return (await request(jobPath(this.job, `poses?start=${start}&end=${end}`))).arrayBuffer();
  }

  /** @param {string | null} [select] */
  _changed(select) {
    this._refresh();
    this.segment = edits.segmentById(this.document, select ?? this.segment?.id ?? null);
    if (this.segment) this.person = this.segment.person;
    if (!this.persons.some(({ id }) => id === this.person)) this.person = this.persons[0]?.id ?? null;
    this.saver.save(this.history.present);
    this._tell("document");
  }

  _refresh() {
    const { identities } = this.document;
    if (identities === this._identities) return;
    this._identities = identities;
    this.pieces = piecesOf(identities, this.scene.tracks);
    this.persons = personsOf(this.pieces);
  }

  /** @param {import("./saving.js").SaveState} state @param {string} [problem] */
  _setSaveState(state, problem = "") {
    this.saveState = state;
    this.saveProblem = problem;
    this._tell("save");
  }

  /** @param {string} event */
  _tell(event) {
    this.dispatchEvent(new Event(event));
  }
}
