/** Skeletons: read from the service in pieces of a few seconds, and found by the time of the frame shown. */

import { lastUpTo } from "./search.js";

/** @typedef {import("./types.js").PersonId} PersonId */

/** Seconds per request. */
export const PIECE = 20;
/** Pieces kept; ten people at 30 frames per second take about 1.2 MB a piece. */
const KEPT = 12;
/** Time stamps of browsers are rounded to microseconds; frames are at least 4 ms apart. */
const TOLERANCE = 0.001;
/** Milliseconds before a failed request is repeated. */
const PAUSE = 2000;
const NUM_JOINTS = 17;
/** Numbers of a skeleton: x, y and score of each joint. */
export const STRIDE = NUM_JOINTS * 3;

/**
 * @typedef {object} PosePiece
 * @property {Float64Array} frameTimes Times of all frames in which persons were searched.
 * @property {{id: PersonId, times: Float64Array, joints: Float32Array}[]} persons
 */

/**
 * @typedef {object} Shown The skeletons of one frame.
 * @property {number} time
 * @property {{id: PersonId, joints: Float32Array}[]} persons
 */

/**
 * Decode the binary format of the service.
 *
 * @param {ArrayBuffer} buffer
 * @returns {PosePiece}
 */
export function decodePoses(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = padded(4 + length);
  const frameTimes = new Float64Array(buffer, offset, header.frames);
  offset += frameTimes.byteLength;
  const persons = header.persons.map((/** @type {{id: PersonId, frames: number}} */ { id, frames }) => {
    const times = new Float64Array(buffer, offset, frames);
    offset += times.byteLength;
    const joints = new Float32Array(buffer, offset, frames * STRIDE);
    offset = padded(offset + joints.byteLength);
    return { id, times, joints };
  });
  return { frameTimes, persons };
}

/**
 * Return the skeletons of the latest sampled frame up to a time, or null if there is none in the piece.
 *
 * A person who is not in that very frame is not shown, however recently seen: frames have no fixed distance.
 *
 * @param {PosePiece} piece
 * @param {number} time
 * @returns {Shown | null}
 */
export function shownAt(piece, time) {
  const frame = lastUpTo(piece.frameTimes, time + TOLERANCE);
  if (frame < 0) return null;
  const exact = piece.frameTimes[frame];
  const persons = [];
  for (const { id, times, joints } of piece.persons) {
    const row = lastUpTo(times, exact + TOLERANCE);
    if (row >= 0 && times[row] > exact - TOLERANCE) {
      persons.push({ id, joints: joints.subarray(row * STRIDE, (row + 1) * STRIDE) });
    }
  }
  return { time: exact, persons };
}

export class PoseCache {
  /**
   * @param {(start: number, end: number) => Promise<ArrayBuffer>} load
   * @param {number} duration
   * @param {() => void} onArrival Called when a piece has arrived.
   */
  constructor(load, duration, onArrival) {
    this._load = load;
    this._last = Math.max(0, Math.ceil(duration / PIECE) - 1);
    // Containers round their duration, so frames may come after it.
    this._end = duration + PIECE;
    this._onArrival = onArrival;
    /** @type {Map<number, PosePiece | null>} In order of use; null while a piece is loading. */
    this._pieces = new Map();
  }

  /** Return the skeletons to show at a time, or null while they are loading. @param {number} time */
  at(time) {
    const index = this._indexOf(time);
    const piece = this._use(index);
    this._use(Math.min(index + 1, this._last));
    if (!piece) return null;
    const shown = shownAt(piece, time);
    if (shown || index === 0) return shown;
    // The frame shown may be the last one of the piece before.
    const before = this._use(index - 1);
    return before ? shownAt(before, time) : null;
  }

  /**
   * Return the times of all loaded frames around a time; none if those at this time are not loaded.
   *
   * @param {number} time
   * @returns {number[]}
   */
  timesAround(time) {
    const index = this._indexOf(time);
    if (!this._pieces.get(index)) return [];
    const around = [index - 1, index, index + 1].filter((near) => near >= 0 && near <= this._last);
    return around.flatMap((near) => [...(this._pieces.get(near)?.frameTimes ?? [])]);
  }

  /** @param {number} time */
  _indexOf(time) {
    return Math.min(Math.max(Math.floor((time + TOLERANCE) / PIECE), 0), this._last);
  }

  /** @param {number} index */
  _use(index) {
    const piece = this._pieces.get(index);
    if (piece === undefined) {
      this._pieces.set(index, null);
      this._load(index * PIECE, index === this._last ? this._end : (index + 1) * PIECE).then(
        (buffer) => {
          this._pieces.set(index, decodePoses(buffer));
          this._onArrival();
        },
        () => setTimeout(() => this._pieces.delete(index), PAUSE),
      );
    } else if (piece) {
      this._pieces.delete(index);
      this._pieces.set(index, piece);
    }
    for (const oldest of this._pieces.keys()) {
      if (this._pieces.size <= KEPT) break;
      this._pieces.delete(oldest);
    }
    return piece ?? null;
  }
}

/** Numbers start at multiples of eight bytes. @param {number} offset */
function padded(offset) {
  return Math.ceil(offset / 8) * 8;
}
