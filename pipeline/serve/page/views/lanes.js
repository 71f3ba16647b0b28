/** Lanes of the timeline on a canvas: only what is visible is drawn. */

import { classColour, personColour } from "../colours.js";
import { clock } from "../dom.js";
import { UNKNOWN, laneOf } from "../model/edits.js";
import { lastUpTo } from "../model/search.js";
import { drawAttention } from "./attention.js";
import { drawCurve } from "./curves.js";
import { rankOf } from "./overlay.js";
import { Strip, pixelOf } from "./strip.js";

/** @typedef {import("../model/axis.js").Axis} Axis */
/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {import("../model/types.js").Segment} Segment */
/** @typedef {import("../colours.js").Theme} Theme */
/**
 * @typedef {object} Lane
 * @property {import("../model/types.js").PersonId} id
 * @property {number} top in pixels
 * @property {number} height
 * @property {number} rank Place of the person among the tracks, for its colour.
 * @property {boolean} attention Whether it has an attention strip.
 */

/**
 * @typedef {object} Pen What every part of a drawing needs.
 * @property {CanvasRenderingContext2D} context
 * @property {Session} session
 * @property {Axis} axis
 * @property {Map<string, number>} ranks Place of each class, for its colour.
 * @property {Theme} theme
 * @property {number} curve Index of the class whose probability is drawn; negative for none.
 */

/** Pixels. */
export const BAR = 24;
const CURVE = 20;
const GAP = 8;
const JOINT = 3;
const PAD = 4;
/** Narrower segments are columns of pixels without text or borders. */
const NARROW = 3;
/** Steps of opacity, so that equal colours are made once. */
const LEVELS = 16;
/** Narrower segments carry no text. */
const READABLE = 26;

/**
 * Arrange the lanes from top to bottom.
 *
 * @param {Session} session
 * @param {boolean} withAttention Whether the selected person has an attention strip.
 * @returns {{lanes: Lane[], height: number}}
 */
export function arrange(session, withAttention) {
  let top = 0;
  const lanes = session.persons.map(({ id }) => {
    const attention = withAttention && id === session.person && session.scene.attention;
    const height = PAD + BAR + CURVE + GAP + (attention ? session.scene.joints.length * JOINT + PAD : 0);
    const lane = { id, top, height, rank: rankOf(session, id), attention };
    top += height;
    return lane;
  });
  return { lanes, height: top };
}

/**
 * Draw the visible lanes.
 *
 * @param {CanvasRenderingContext2D} context Scaled to CSS pixels.
 * @param {Session} session
 * @param {readonly Lane[]} lanes
 * @param {Axis} axis
 * @param {{scroll: number, height: number}} view Visible part of the lanes in pixels.
 * @param {Theme} theme
 */
export function drawLanes(context, session, lanes, axis, view, theme) {
  context.clearRect(0, 0, axis.width, view.height);
  context.font = `500 12px ${theme.font}`;
  context.textBaseline = "middle";
  const ranks = new Map(session.classes.map((name, rank) => [name, rank]));
  const shown = session.curveClass;
  const pen = {
    context,
    session,
    axis,
    ranks,
    theme,
    curve: shown === null ? -1 : session.scene.classes.indexOf(shown),
  };
  drawGrid(context, axis, view.height, theme);
  for (const lane of lanes) {
    const top = lane.top - view.scroll;
    if (top > view.height || top + lane.height < 0) continue;
    drawLane(pen, lane, top + PAD);
    context.fillStyle = theme.line;
    context.fillRect(0, Math.round(top + lane.height) - 1, axis.width, 1);
  }
}

/**
 * Draw the labels of the time axis.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Axis} axis
 * @param {number} height
 * @param {Theme} theme
 */
export function drawRuler(context, axis, height, theme) {
  context.clearRect(0, 0, axis.width, height);
  context.font = `11px ${theme.font}`;
  context.textBaseline = "middle";
  const { times, step } = axis.ticks();
  for (const time of times) {
    const x = Math.round(axis.x(time));
    context.fillStyle = theme.line;
    context.fillRect(x, height - 6, 1, 6);
    const text = clock(time, step < 1 ? 1 : 0);
    const width = context.measureText(text).width;
    context.fillStyle = theme.muted;
    context.fillText(text, Math.min(Math.max(x - width / 2, 2), axis.width - width - 2), height / 2 - 2);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Axis} axis @param {number} height @param {Theme} theme */
function drawGrid(context, axis, height, theme) {
  context.globalAlpha = 0.5;
  context.fillStyle = theme.line;
  for (const time of axis.ticks().times) context.fillRect(Math.round(axis.x(time)), 0, 1, height);
  context.globalAlpha = 1;
}

/** @param {Pen} pen @param {Lane} lane @param {number} top */
function drawLane(pen, lane, top) {
  const { context, session, axis, theme, curve: classIndex } = pen;
  const colours = { line: classColour(classIndex, 1), area: classColour(classIndex, 0.18) };
  for (const piece of session.pieces) {
    if (piece.person !== lane.id || piece.end < axis.start || piece.start > axis.end) continue;
    const left = axis.x(Math.max(piece.start, axis.start));
    const right = axis.x(Math.min(piece.end, axis.end));
    context.fillStyle = theme.lane;
    context.fillRect(left, top, right - left, BAR + CURVE);
    context.fillStyle = personColour(lane.rank);
    context.fillRect(left, top - 2, right - left, 1.5);
    const curves = session.scene.curves(piece.track);
    if (curves && classIndex >= 0) {
      const place = { top: top + BAR + 2, height: CURVE - 3 };
      drawCurve(
        context,
        curves,
        { index: classIndex, count: session.scene.classes.length },
        piece,
        axis,
        place,
        colours,
      );
    }
    if (lane.attention) {
      const attention = session.attention(piece.track);
      const place = { top: top + BAR + CURVE + PAD, height: session.scene.joints.length * JOINT };
      if (attention) drawAttention(context, attention, piece, axis, place);
    }
  }
  drawSegments(pen, lane, top);
}

/** @param {Pen} pen @param {Lane} lane @param {number} top */
function drawSegments(pen, lane, top) {
  const { context, session, axis, theme } = pen;
  const { segments, starts } = laneOf(session.document, lane.id);
  let column = -1;
  /** @type {Strip | null} */
  let narrow = null;
  for (let i = Math.max(0, lastUpTo(starts, axis.start)); i < segments.length; i++) {
    const segment = segments[i];
    if (segment.start > axis.end) break;
    if (segment.end < axis.start) continue;
    const left = Math.max(axis.x(segment.start), -4);
    const right = Math.min(axis.x(segment.end), axis.width + 4);
    // Far zoomed out, many segments share a column of pixels.
    if (right - left < 1 && Math.floor(left) === column) continue;
    column = Math.floor(left);
    if (right - left < NARROW) {
      if (segment.rejected) continue;
      narrow ??= new Strip(Math.ceil(axis.width), 1);
      const pixel = pixelOf(fillOf(session, segment, pen.ranks));
      for (let x = column; x < Math.max(column + 1, Math.floor(right)); x++) narrow.fill(x, 0, 1, pixel);
      continue;
    }
    drawSegment(pen, segment, left, top, right - left);
  }
  narrow?.draw(context, 0, top, BAR);
  const chosen = session.segment;
  if (!chosen || chosen.person !== lane.id || chosen.end < axis.start || chosen.start > axis.end) return;
  const left = axis.x(chosen.start);
  const right = axis.x(chosen.end);
  context.strokeStyle = theme.accent;
  context.lineWidth = 2;
  context.strokeRect(left, top, Math.max(right - left, 2), BAR);
  context.fillStyle = theme.accent;
  for (const x of [left, right]) {
    context.beginPath();
    context.roundRect(x - 3, top + 4, 6, BAR - 8, 3);
    context.fill();
  }
}

/** @type {Map<number, string>} Colours by class and level of opacity. */
const fills = new Map();

/** @param {Session} session @param {Segment} segment @param {Map<string, number>} ranks */
function fillOf(session, segment, ranks) {
  const rank = rankIn(ranks, segment);
  const certainty = rank < 0 ? 0.25 : session.scene.certainty(session.pieces, segment);
  const level = Math.round(certainty * LEVELS);
  const key = rank * (LEVELS + 1) + level;
  let fill = fills.get(key);
  if (fill === undefined) fills.set(key, (fill = classColour(rank, 0.12 + (0.55 * level) / LEVELS)));
  return fill;
}

/** @param {Map<string, number>} ranks @param {Segment} segment */
function rankIn(ranks, { label }) {
  return label === null ? -1 : (ranks.get(label) ?? -1);
}

/** @param {Pen} pen @param {Segment} segment @param {number} left @param {number} top @param {number} width */
function drawSegment({ context, session, axis, ranks, theme }, segment, left, top, width) {
  const rank = rankIn(ranks, segment);
  const inner = Math.max(width - 1, 0.75);
  if (segment.rejected) {
    context.strokeStyle = theme.muted;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.strokeRect(left + 0.5, top + 0.5, Math.max(inner - 1, 0.5), BAR - 1);
    context.setLineDash([]);
  } else {
    context.fillStyle = fillOf(session, segment, ranks);
    context.fillRect(left, top, inner, BAR);
    if (width > 4) {
      context.fillStyle = classColour(rank, 1);
      context.fillRect(left, top, 2.5, BAR);
    }
  }
  if (width < READABLE) return;
  const mark = segment.reviewed && !segment.rejected && width > 44 ? "✓" : "";
  const start = Math.max(left, 0);
  const room = Math.min(left + width, axis.width) - start - 14 - (mark ? 14 : 0);
  const text = shortened(context, segment.label ?? UNKNOWN, room);
  context.fillStyle = segment.rejected || segment.label === null ? theme.muted : theme.text;
  context.fillText(text, start + 8, top + BAR / 2 + 0.5);
  if (mark) context.fillText(mark, left + width - 16, top + BAR / 2 + 0.5);
  if (segment.rejected && text) {
    context.fillRect(start + 8, top + BAR / 2, context.measureText(text).width, 1);
  }
}

/** @type {Map<string, number>} Widths of texts at the one font that is used here. */
const widths = new Map();

/**
 * Shorten a text to a number of pixels.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} room
 */
function shortened(context, text, room) {
  const key = `${context.font}|${text}`;
  let width = widths.get(key);
  if (width === undefined) widths.set(key, (width = context.measureText(text).width));
  if (width <= room) return text;
  const letters = Math.floor((text.length * room) / width) - 1;
  return letters < 1 ? "" : `${text.slice(0, letters)}…`;
}
