/** Attention strip in a lane of the timeline: one row per joint, one column per pixel of time. */

import { heatColour } from "../colours.js";
import { lastUpTo } from "../model/search.js";

/** @typedef {import("../model/axis.js").Axis} Axis */

/** Frames looked at for one column, however far the view is zoomed out. */
const SAMPLES = 8;
/** Seconds that a value holds if no other follows. */
const HOLDS = 1;
const LEVELS = 64;
/** Value of the last level; 1 is the mean over the joints. */
const MOST = 2;

/** @type {Uint8ClampedArray | null} */
let palette = null;
/** @type {HTMLCanvasElement | null} */
let strip = null;

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
  palette ??= makePalette();
  strip ??= document.createElement("canvas");
  strip.width = columns;
  strip.height = joints;
  const image = new ImageData(columns, joints);
  const mean = new Float32Array(joints);
  for (let column = 0; column < columns; column++) {
    if (!meanBetween(attention, axis.time(left + column), axis.time(left + column + 1), mean)) continue;
    for (let joint = 0; joint < joints; joint++) {
      const level = Math.min(LEVELS - 1, Math.floor((mean[joint] / MOST) * LEVELS));
      if (!(level >= 0)) continue;
      const pixel = (joint * columns + column) * 4;
      for (let channel = 0; channel < 4; channel++) image.data[pixel + channel] = palette[level * 4 + channel];
    }
  }
  /** @type {CanvasRenderingContext2D} */ (strip.getContext("2d")).putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(strip, left, place.top, columns, place.height);
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

/** Colours of the levels as bytes; the canvas does the conversion. */
function makePalette() {
  const canvas = document.createElement("canvas");
  canvas.width = LEVELS;
  canvas.height = 1;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  for (let level = 0; level < LEVELS; level++) {
    context.fillStyle = heatColour(((level + 0.5) / LEVELS) * MOST);
    context.fillRect(level, 0, 1, 1);
  }
  return context.getImageData(0, 0, LEVELS, 1).data;
}
