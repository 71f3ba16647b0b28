/** Corrections as pure functions: each takes a document and returns a new one, so undo is only a list of documents. */

import { lastUpTo } from "./search.js";

/** @typedef {import("./types.js").Corrections} Corrections */
/** @typedef {import("./types.js").Segment} Segment */
/** @typedef {import("./types.js").PersonId} PersonId */

/** Shortest segment in seconds: one frame of a slow camera. */
export const SHORTEST = 0.04;
/** Ends that are closer than this, in seconds, are one boundary, which moves as a whole. */
const TOUCHING = 0.002;
const LONGEST_NAME = 60;
/** Identifiers that the page gives: u1 to a segment made by hand, s1 to a part of another one. */
const GIVEN = /^[us](\d+)$/;
/** What a segment without a label is called. */
export const UNKNOWN = "unknown";

/** An edit that cannot be made; the message says why. */
export class EditError extends Error {}

/** @typedef {{segments: Segment[], starts: number[]}} Lane */
/** @type {WeakMap<Segment[], Map<PersonId, Lane>>} */
const lanes = new WeakMap();
/** @type {Lane} */
const EMPTY = { segments: [], starts: [] };

/**
 * Return the segments of a person in order of time, and their starts.
 *
 * @param {Corrections} document
 * @param {PersonId} person
 * @returns {Readonly<Lane>}
 */
export function laneOf(document, person) {
  let byPerson = lanes.get(document.segments);
  if (!byPerson) {
    byPerson = new Map();
    for (const segment of document.segments) {
      const lane = byPerson.get(segment.person);
      if (lane) lane.segments.push(segment);
      else byPerson.set(segment.person, { segments: [segment], starts: [] });
    }
    for (const lane of byPerson.values()) {
      lane.segments.sort((a, b) => a.start - b.start);
      lane.starts = lane.segments.map((segment) => segment.start);
    }
    lanes.set(document.segments, byPerson);
  }
  return byPerson.get(person) ?? EMPTY;
}

/** @param {Corrections} document @param {PersonId} person @returns {readonly Segment[]} */
export function segmentsOf(document, person) {
  return laneOf(document, person).segments;
}

/** @param {Corrections} document @param {string | null} id @returns {Segment | null} */
export function segmentById(document, id) {
  return document.segments.find((segment) => segment.id === id) ?? null;
}

/** @param {Corrections} document @param {PersonId} person @param {number} time @returns {Segment | null} */
export function segmentAt(document, person, time) {
  const { segments, starts } = laneOf(document, person);
  const segment = segments[lastUpTo(starts, time)];
  return segment && time < segment.end ? segment : null;
}

/**
 * Give a segment another label; null stands for an unknown action.
 *
 * @param {Corrections} document
 * @param {string} id
 * @param {string | null} label
 * @returns {Corrections}
 */
export function relabel(document, id, label) {
  return change(document, id, (segment) => ({
    ...segment,
    label,
    source: segment.label === label ? segment.source : "user",
    rejected: false,
    reviewed: true,
  }));
}

/** Mark a segment as correct. @param {Corrections} document @param {string} id @returns {Corrections} */
export function confirm(document, id) {
  return change(document, id, (old) => ({ ...old, rejected: false, reviewed: true }));
}

/**
 * Remove a segment. One that the recognizer found stays visible as rejected; a second call takes that back.
 *
 * @param {Corrections} document
 * @param {string} id
 * @returns {Corrections}
 */
export function reject(document, id) {
  const segment = found(document, id);
  if (isMade(segment)) return { ...document, segments: document.segments.filter((other) => other.id !== id) };
  return change(document, id, (old) => ({ ...old, rejected: !old.rejected, reviewed: !old.rejected }));
}

/** @param {Corrections} document @param {string} id @param {number} time @returns {Corrections} */
export function split(document, id, time) {
  const segment = found(document, id);
  const at = rounded(time);
  if (at < segment.start + SHORTEST || at > segment.end - SHORTEST) {
    throw new EditError("Move the playhead into the segment to split it there.");
  }
  const right = { ...segment, id: partId(segment, freshNumber(document)), start: at };
  const left = { ...segment, end: at };
  return { ...document, segments: document.segments.flatMap((other) => (other.id === id ? [left, right] : [other])) };
}

/**
 * Join a segment with the next one of the person.
 *
 * @param {Corrections} document
 * @param {string} id
 * @returns {Corrections}
 */
export function merge(document, id) {
  const segment = found(document, id);
  const lane = segmentsOf(document, segment.person);
  const next = lane[lane.indexOf(segment) + 1];
  if (!next) throw new EditError("There is no later segment of this person to merge with.");
  /** @type {Segment} */
  const merged = { ...segment, end: next.end, label: segment.label ?? next.label, source: "user", reviewed: true };
  const rest = document.segments.filter((other) => other.id !== next.id);
  return { ...document, segments: rest.map((other) => (other.id === id ? merged : other)) };
}

/**
 * Move one end of a segment. A neighbour that begins or ends there moves along; any other neighbour is a limit.
 *
 * @param {Corrections} document
 * @param {string} id
 * @param {"start" | "end"} edge
 * @param {number} time
 * @param {{start: number, end: number}} limits
 * @returns {Corrections}
 */
export function moveEdge(document, id, edge, time, limits) {
  const segment = found(document, id);
  const lane = segmentsOf(document, segment.person);
  const neighbour = lane[lane.indexOf(segment) + (edge === "start" ? -1 : 1)];
  const other = edge === "start" ? "end" : "start";
  const touches = neighbour && Math.abs(neighbour[other] - segment[edge]) < TOUCHING;
  let low = edge === "start" ? limits.start : segment.start + SHORTEST;
  let high = edge === "start" ? segment.end - SHORTEST : limits.end;
  if (neighbour && edge === "start") low = touches ? neighbour.start + SHORTEST : neighbour.end;
  if (neighbour && edge === "end") high = touches ? neighbour.end - SHORTEST : neighbour.start;
  if (low > high) return document;
  const at = rounded(Math.min(Math.max(time, low), high));
  const segments = document.segments.map((old) => {
    if (old.id === id)
      return /** @type {Segment} */ ({ ...old, [edge]: at, source: "user", reviewed: old.label !== null });
    if (touches && old.id === neighbour.id) return { ...old, [other]: at };
    return old;
  });
  return { ...document, segments };
}

/**
 * Add a segment; what it covers of others is cut away.
 *
 * @param {Corrections} document
 * @param {PersonId} person
 * @param {number} start
 * @param {number} end
 * @param {string | null} label
 * @returns {{document: Corrections, id: string}}
 */
export function add(document, person, start, end, label = null) {
  const from = rounded(start);
  const to = rounded(end);
  if (to - from < SHORTEST) throw new EditError("There is no room for a segment at the playhead.");
  let next = freshNumber(document);
  const id = `u${next++}`;
  const segments = document.segments.flatMap((old) => {
    if (old.person !== person || old.end <= from || old.start >= to) return [old];
    const parts = [];
    if (from - old.start >= SHORTEST) parts.push({ ...old, end: from });
    if (old.end - to >= SHORTEST) parts.push({ ...old, start: to, id: parts.length ? partId(old, next++) : old.id });
    return parts;
  });
  segments.push({ id, person, start: from, end: to, label, source: "user", rejected: false, reviewed: label !== null });
  return { document: { ...document, segments }, id };
}

/**
 * Exchange two identities from a time on; their segments follow them.
 *
 * @param {Corrections} document
 * @param {PersonId} a
 * @param {PersonId} b
 * @param {number} time
 * @returns {Corrections}
 */
export function swap(document, a, b, time) {
  if (a === b) throw new EditError("Choose another person to swap with.");
  // Rounded down, so that the frame that is shown is exchanged, too.
  const at = Math.floor(time * 1000) / 1000;
  let next = freshNumber(document);
  const segments = document.segments.flatMap((old) => {
    if ((old.person !== a && old.person !== b) || old.end <= at) return [old];
    const person = old.person === a ? b : a;
    if (old.start >= at) return [{ ...old, person }];
    return [
      { ...old, end: at },
      { ...old, id: partId(old, next++), start: at, person },
    ];
  });
  return { ...document, segments, identities: [...document.identities, { kind: "swap", a, b, time: at }] };
}

/**
 * Make one person of two.
 *
 * @param {Corrections} document
 * @param {PersonId} from
 * @param {PersonId} to
 * @returns {Corrections}
 */
export function join(document, from, to) {
  if (from === to) throw new EditError("Choose another person to join with.");
  const segments = document.segments.map((old) => (old.person === from ? { ...old, person: to } : old));
  return { ...document, segments, identities: [...document.identities, { kind: "join", from, to }] };
}

/** @param {Corrections} document @param {string} name @param {readonly string[]} known Classes of the recognizer. */
export function addClass(document, name, known) {
  const wanted = name.trim();
  if (!wanted) throw new EditError("Type the name of the new class.");
  if (wanted.length > LONGEST_NAME) throw new EditError(`The name is longer than ${LONGEST_NAME} characters.`);
  const taken = [UNKNOWN, ...known, ...document.classes].find((old) => old.toLowerCase() === wanted.toLowerCase());
  if (taken) throw new EditError(`There is a class “${taken}” already.`);
  return { ...document, classes: [...document.classes, wanted] };
}

/** Whether a segment was made by hand, and is not one of the recognizer's or a part of it. @param {Segment} segment */
export function isMade(segment) {
  return /^u\d+$/.test(segment.id);
}

/** @param {Corrections} document @param {string} id @returns {Segment} */
function found(document, id) {
  const segment = segmentById(document, id);
  if (!segment) throw new EditError("Select a segment first.");
  return segment;
}

/** @param {Corrections} document @param {string} id @param {(segment: Segment) => Segment} by @returns {Corrections} */
function change(document, id, by) {
  found(document, id);
  return { ...document, segments: document.segments.map((old) => (old.id === id ? by(old) : old)) };
}

/** @param {Corrections} document */
function freshNumber(document) {
  return 1 + Math.max(0, ...document.segments.map(({ id }) => Number(GIVEN.exec(id)?.[1] ?? 0)));
}

/** Identifier of a second part of a segment. @param {Segment} whole @param {number} number */
function partId(whole, number) {
  return `${isMade(whole) ? "u" : "s"}${number}`;
}

/** Milliseconds are finer than frames, and keep files readable. @param {number} time */
function rounded(time) {
  return Math.round(time * 1000) / 1000;
}
