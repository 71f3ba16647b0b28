/** Probability curve of a class in a lane of the timeline. */

import { lastUpTo } from "../model/search.js";

/** @typedef {import("../model/axis.js").Axis} Axis */

/**
 * Draw the curve over one piece of a track.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("../model/scene.js").Curves} curves
 * @param {number} classIndex
 * @param {number} numClasses
 * @param {{start: number, end: number}} span of the piece in seconds
 * @param {Axis} axis
 * @param {{top: number, height: number}} place in pixels
 * @param {{line: string, area: string}} colours
 */
export function drawCurve(context, curves, classIndex, numClasses, span, axis, place, colours) {
  const from = Math.max(span.start, axis.start);
  const to = Math.min(span.end, axis.end);
  // One window more on either side, so that the line leaves the view.
  const first = Math.max(0, lastUpTo(curves.middle, from));
  const last = Math.min(curves.middle.length - 1, lastUpTo(curves.middle, to) + 1);
  if (first > last) return;
  const bottom = place.top + place.height;
  const longest = 2.5 * Math.max(0.05, curves.end[first] - curves.start[first]);
  const line = new Path2D();
  const area = new Path2D();
  let previous = NaN;
  let column = NaN;
  let low = 0;
  let high = 0;
  let x = 0;
  for (let i = first; i <= last; i++) {
    const y = bottom - curves.probabilities[i * numClasses + classIndex] * place.height;
    x = axis.x(Math.min(Math.max(curves.middle[i], span.start), span.end));
    const isNew = !(curves.middle[i] - previous < longest);
    previous = curves.middle[i];
    if (!isNew && Math.floor(x) === column) {
      // Several windows in one column of pixels: its lowest and its highest value say enough.
      if (y < low || y > high) {
        line.lineTo(x, y);
        area.lineTo(x, y);
        low = Math.min(low, y);
        high = Math.max(high, y);
      }
      continue;
    }
    if (isNew) {
      if (i > first) area.lineTo(axis.x(curves.middle[i - 1]), bottom);
      line.moveTo(x, y);
      area.moveTo(x, bottom);
    } else {
      line.lineTo(x, y);
    }
    area.lineTo(x, y);
    column = Math.floor(x);
    low = high = y;
  }
  area.lineTo(x, bottom);
  context.fillStyle = colours.area;
  context.fill(area);
  context.strokeStyle = colours.line;
  context.lineWidth = 1.5;
  context.stroke(line);
}
