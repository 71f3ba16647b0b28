/** What the recognizer says about a clip, arranged for drawing. */

import { lastUpTo } from "./search.js";

/** @typedef {import("./types.js").SceneDocument} SceneDocument */
/** @typedef {import("./types.js").PersonId} PersonId */
/** @typedef {import("./types.js").Piece} Piece */
/** @typedef {import("./types.js").Segment} Segment */

/**
 * @typedef {object} Curves Probabilities of a track over time.
 * @property {Float64Array} start
 * @property {Float64Array} end
 * @property {Float64Array} middle
 * @property {Float32Array} probabilities One row of classes per window.
 */

export class Scene {
  /** @param {SceneDocument} document */
  constructor(document) {
    this.video = document.video;
    this.joints = document.joints;
    this.bones = document.bones;
    this.classes = document.classes;
    this.attention = document.attention;
    /** @type {import("./types.js").Track[]} */
    this.tracks = document.persons.flatMap(({ id, start, end }) => (id === null ? [] : [{ id, start, end }]));
    /** @type {Map<PersonId, Curves>} */
    this._curves = new Map();
    /** @type {Map<string, import("./types.js").SceneSegment>} */
    this._found = new Map();
    /** @type {WeakMap<Segment, number>} Segments are never changed in place. */
    this._certainty = new WeakMap();
    /** What the recognizer says of all persons together, if it was asked. */
    this.together = document.persons.find(({ id }) => id === null)?.segments ?? [];
    for (const person of document.persons) {
      if (person.id !== null) this._curves.set(person.id, curvesOf(person.windows, this.classes.length));
      for (const segment of person.segments) this._found.set(segment.id, segment);
    }
  }

  /** @param {PersonId} track @returns {Curves | undefined} */
  curves(track) {
    return this._curves.get(track);
  }

  /** The segment as the recognizer found it, if it did. @param {string} id */
  found(id) {
    return this._found.get(id);
  }

  /**
   * Return the mean probability of each class over a span of a person, or null where there are no windows.
   *
   * @param {readonly Piece[]} pieces
   * @param {PersonId} person
   * @param {number} start
   * @param {number} end
   * @returns {Float64Array | null}
   */
  meanProbabilities(pieces, person, start, end) {
    const count = this.classes.length;
    const total = new Float64Array(count);
    let weight = 0;
    for (const piece of pieces) {
      const curves = piece.person === person ? this._curves.get(piece.track) : undefined;
      const from = Math.max(piece.start, start);
      const to = Math.min(piece.end, end);
      if (!curves || from >= to) continue;
      const last = lastUpTo(curves.start, to);
      for (let i = firstReaching(curves.end, from); i <= last; i++) {
        const shared = Math.min(curves.end[i], to) - Math.max(curves.start[i], from);
        if (shared <= 0) continue;
        weight += shared;
        for (let c = 0; c < count; c++) total[c] += shared * curves.probabilities[i * count + c];
      }
    }
    return weight ? total.map((value) => value / weight) : null;
  }

  /**
   * Return the class with the largest mean probability, or null where there are no windows.
   *
   * @param {readonly Piece[]} pieces
   * @param {Segment} segment
   */
  mostProbable(pieces, segment) {
    const means = this.meanProbabilities(pieces, segment.person, segment.start, segment.end);
    return means ? this.classes[means.indexOf(Math.max(...means))] : null;
  }

  /**
   * Return how certain a segment is, 0 to 1: 1 once a person has reviewed it.
   *
   * @param {readonly Piece[]} pieces
   * @param {Segment} segment
   */
  certainty(pieces, segment) {
    let certainty = this._certainty.get(segment);
    if (certainty === undefined) {
      certainty = this._certaintyOf(pieces, segment);
      this._certainty.set(segment, certainty);
    }
    return certainty;
  }

  /** @param {readonly Piece[]} pieces @param {Segment} segment */
  _certaintyOf(pieces, segment) {
    if (segment.reviewed) return 1;
    const found = this._found.get(segment.id);
    if (found && found.label === segment.label) return found.probability;
    const index = segment.label === null ? -1 : this.classes.indexOf(segment.label);
    if (index < 0) return 0;
    return this.meanProbabilities(pieces, segment.person, segment.start, segment.end)?.[index] ?? 0;
  }
}

/** @param {import("./types.js").ScenePerson["windows"]} windows @param {number} count @returns {Curves} */
function curvesOf(windows, count) {
  const probabilities = new Float32Array(windows.length * count);
  windows.forEach((window, row) => probabilities.set(window.probabilities, row * count));
  return {
    start: Float64Array.from(windows, (window) => window.start),
    end: Float64Array.from(windows, (window) => window.end),
    middle: Float64Array.from(windows, (window) => (window.start + window.end) / 2),
    probabilities,
  };
}

/** Index of the first window that ends after a time. @param {Float64Array} ends @param {number} time */
function firstReaching(ends, time) {
  return lastUpTo(ends, time) + 1;
}
