/** Probability curve of a class in a lane of the timeline. */

import { lastUpTo } from "../model/search.js";
import { Strip, pixelOf } from "./strip.js";

/** @typedef {import("../model/axis.js").Axis} Axis */
/** @typedef {import("../model/scene.js").Curves} Curves */
/** @typedef {{line: string, area: string}} Colours */

/** Windows per pixel above which a line would hide more than it shows. */
const DENSE = 0.5;
const LINE = 1.5;
/** Pixels of the highest lane. */
const HEIGHT = 32;

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
  const left = Math.floor(x(first));
  const top = Math.floor(bottom) - HEIGHT;
  const strip = new Strip(Math.floor(x(last)) - left + 1, HEIGHT);
  const area = pixelOf(colours.area);
  const line = pixelOf(colours.line);
  let column = -1;
  let high = 0;
  let low = 0;
  const draw = () => {
    strip.fill(column, high, HEIGHT, area);
    strip.fill(column, high, Math.max(low, high + 1) + 1, line);
  };
  for (let i = first; i <= last; i++) {
    const next = Math.floor(x(i)) - left;
    const value = Math.round(y(i)) - top;
    if (next !== column) {
      draw();
      column = next;
      high = low = value;
    }
    high = Math.min(high, value);
    low = Math.max(low, value);
  }
  draw();
  strip.draw(context, left, top, HEIGHT);
}
