/** Probability curve of a class in a lane of the timeline. */

import { lastUpTo } from "../model/search.js";

/** @typedef {import("../model/axis.js").Axis} Axis */
/** @typedef {import("../model/scene.js").Curves} Curves */
/** @typedef {{line: string, area: string}} Colours */

/** Windows per pixel above which a line would hide more than it shows. */
const DENSE = 0.5;
const LINE = 1.5;

/**
 * Draw the curve over one piece of a track.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Curves} curves
 * @param {{index: number, count: number}} shown Class to draw, and number of classes.
 * @param {{start: number, end: number}} span of the piece in seconds
 * @param {Axis} axis
 * @param {{top: number, height: number}} place in pixels
 * @param {Colours} colours
 */
export function drawCurve(context, curves, shown, span, axis, place, colours) {
  const from = Math.max(span.start, axis.start);
  const to = Math.min(span.end, axis.end);
  // One window more on either side, so that the line leaves the view.
  const first = Math.max(0, lastUpTo(curves.middle, from));
  const last = Math.min(curves.middle.length - 1, lastUpTo(curves.middle, to) + 1);
  if (first > last) return;
  const bottom = place.top + place.height;
  /** @param {number} i */
  const x = (i) => axis.x(Math.min(Math.max(curves.middle[i], span.start), span.end));
  /** @param {number} i */
  const y = (i) => bottom - curves.probabilities[i * shown.count + shown.index] * place.height;
  const isDense = last - first > DENSE * (axis.x(to) - axis.x(from));
  if (isDense) drawColumns(context, first, last, x, y, bottom, colours);
  else drawLine(context, curves, first, last, x, y, bottom, colours);
}

/**
 * Draw a line over an area; it is interrupted where there are no windows.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Curves} curves
 * @param {number} first
 * @param {number} last
 * @param {(i: number) => number} x
 * @param {(i: number) => number} y
 * @param {number} bottom
 * @param {Colours} colours
 */
function drawLine(context, curves, first, last, x, y, bottom, colours) {
  const longest = 2.5 * Math.max(0.05, curves.end[first] - curves.start[first]);
  const line = new Path2D();
  const area = new Path2D();
  for (let i = first; i <= last; i++) {
    const isNew = i === first || curves.middle[i] - curves.middle[i - 1] > longest;
    if (isNew) {
      if (i > first) area.lineTo(x(i - 1), bottom);
      line.moveTo(x(i), y(i));
      area.moveTo(x(i), bottom);
    } else {
      line.lineTo(x(i), y(i));
    }
    area.lineTo(x(i), y(i));
  }
  area.lineTo(x(last), bottom);
  context.fillStyle = colours.area;
  context.fill(area);
  context.strokeStyle = colours.line;
  context.lineWidth = LINE;
  context.stroke(line);
}

/**
 * Draw the lowest and the highest value of each column of pixels.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} first
 * @param {number} last
 * @param {(i: number) => number} x
 * @param {(i: number) => number} y
 * @param {number} bottom
 * @param {Colours} colours
 */
function drawColumns(context, first, last, x, y, bottom, colours) {
  /** @type {[number, number, number][]} Column, highest and lowest edge. */
  const columns = [];
  for (let i = first; i <= last; i++) {
    const column = Math.floor(x(i));
    const value = Math.round(y(i));
    const current = columns.at(-1);
    if (current && current[0] === column) {
      current[1] = Math.min(current[1], value);
      current[2] = Math.max(current[2], value);
    } else {
      columns.push([column, value, value]);
    }
  }
  context.fillStyle = colours.area;
  for (const [column, high] of columns) context.fillRect(column, high, 1, bottom - high);
  context.fillStyle = colours.line;
  for (const [column, high, low] of columns) context.fillRect(column, high, 1, Math.max(LINE, low - high));
}
