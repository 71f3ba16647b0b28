/** Attention strip in a lane of the timeline: one row per joint, one column per pixel of time. */

import { heatColour } from "../colours.js";
import { lastUpTo } from "../model/search.js";
import { Strip, pixelOf } from "./strip.js";

/** @typedef {import("../model/axis.js").Axis} Axis */

/** Frames looked at for one column, however far the view is zoomed out. */
const SAMPLES = 8;
/** Seconds that a value holds if no other follows. */
const HOLDS = 1;
const LEVELS = 64;
/** Value of the last level; 1 is the mean over the joints. */
const MOST = 2;

/** Colours of the levels. */
const COLOURS = Array.from({ length: LEVELS }, (_, level) => heatColour(((level + 0.5) / LEVELS) * MOST));

/**
 * Draw the strip over one piece of a track.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{times: number[], values: number[][]}} attention
 * @param {{start: number, end: number}} span of the piece in seconds
 * @param {Axis} axis
 * @param {{top: number, height: number}} place in pixels
 */
export function drawAttention(context, attention, span, axis, place) {
  const left = Math.max(0, Math.floor(axis.x(span.start)));
  const right = Math.min(axis.width, Math.ceil(axis.x(span.end)));
  const joints = attention.values[0]?.length ?? 0;
  const columns = Math.floor(right - left);
  if (!joints || columns < 1) return;
  const strip = new Strip(columns, joints);
  const palette = COLOURS.map(pixelOf);
  const mean = new Float32Array(joints);
  for (let column = 0; column < columns; column++) {
    if (!meanBetween(attention, axis.time(left + column), axis.time(left + column + 1), mean)) continue;
    for (let joint = 0; joint < joints; joint++) {
      const level = Math.min(LEVELS - 1, Math.floor((mean[joint] / MOST) * LEVELS));
      if (level >= 0) strip.fill(column, joint, joint + 1, palette[level]);
    }
  }
  strip.draw(context, left, place.top, place.height);
}

/**
 * @param {{times: number[], values: number[][]}} attention
 * @param {number} start
 * @param {number} end
 * @param {Float32Array} mean Filled with the mean of each joint.
 * @returns {boolean} Whether there are values.
 */
function meanBetween({ times, values }, start, end, mean) {
  const first = Math.max(0, lastUpTo(times, start));
  const last = lastUpTo(times, end);
  if (last < 0 || start - times[last] > HOLDS) return false;
  const stride = Math.max(1, Math.ceil((last - first + 1) / SAMPLES));
  mean.fill(0);
  let count = 0;
  for (let row = first; row <= last; row += stride, count++) {
    for (let joint = 0; joint < mean.length; joint++) mean[joint] += values[row][joint] ?? NaN;
  }
  for (let joint = 0; joint < mean.length; joint++) mean[joint] /= count;
  return true;
}
