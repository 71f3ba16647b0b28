/** Identities: which person each track is, after swaps and joins. */

/** @typedef {import("./types.js").PersonId} PersonId */
/** @typedef {import("./types.js").Swap | import("./types.js").Join} Entry */
/** @typedef {import("./types.js").Track} Track */
/** @typedef {import("./types.js").Piece} Piece */

/**
 * Return the person that a track is at a time.
 *
 * @param {readonly Entry[]} entries In the order in which they were made: a join changes what a later swap refers to.
 * @param {PersonId} track
 * @param {number} time
 * @returns {PersonId}
 */
export function identityAt(entries, track, time) {
  let person = track;
  for (const entry of entries) {
    if (entry.kind === "join") {
      if (person === entry.from) person = entry.to;
    } else if (time >= entry.time) {
      if (person === entry.a) person = entry.b;
      else if (person === entry.b) person = entry.a;
    }
  }
  return person;
}

/**
 * Cut tracks where their identity changes.
 *
 * @param {readonly Entry[]} entries
 * @param {readonly Track[]} tracks
 * @returns {Piece[]} In order of tracks and time.
 */
export function piecesOf(entries, tracks) {
  const cuts = entries.flatMap((entry) => (entry.kind === "swap" ? [entry.time] : [])).sort((a, b) => a - b);
  const pieces = [];
  for (const { id, start, end } of tracks) {
    const bounds = [start, ...cuts.filter((time) => time > start && time < end), end];
    let last = null;
    for (let i = 0; i + 1 < bounds.length; i++) {
      const person = identityAt(entries, id, bounds[i]);
      if (last && last.person === person) last.end = bounds[i + 1];
      else pieces.push((last = { person, track: id, start: bounds[i], end: bounds[i + 1] }));
    }
  }
  return pieces;
}

/**
 * Return the span of each person, in the order in which they appear.
 *
 * @param {readonly Piece[]} pieces
 * @returns {Track[]}
 */
export function personsOf(pieces) {
  /** @type {Map<PersonId, Track>} */
  const spans = new Map();
  for (const { person, start, end } of pieces) {
    const span = spans.get(person);
    if (span) {
      span.start = Math.min(span.start, start);
      span.end = Math.max(span.end, end);
    } else {
      spans.set(person, { id: person, start, end });
    }
  }
  return [...spans.values()].sort((a, b) => a.start - b.start || compareIds(a.id, b.id));
}

/**
 * Return the time span in which two persons are both seen, or null. Such persons cannot be one person.
 *
 * @param {readonly Piece[]} pieces
 * @param {PersonId} a
 * @param {PersonId} b
 * @returns {[number, number] | null}
 */
export function overlapOf(pieces, a, b) {
  for (const one of pieces) {
    if (one.person !== a) continue;
    for (const other of pieces) {
      if (other.person !== b) continue;
      const start = Math.max(one.start, other.start);
      const end = Math.min(one.end, other.end);
      if (start < end) return [start, end];
    }
  }
  return null;
}

/** @param {PersonId} a @param {PersonId} b */
function compareIds(a, b) {
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
