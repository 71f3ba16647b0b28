/** Skeletons, ids and actions on a canvas above the video. */

import { heatColour, personColour } from "../colours.js";
import { UNKNOWN, segmentAt } from "../model/edits.js";
import { identityAt } from "../model/identities.js";
import { lastUpTo } from "../model/search.js";

/** @typedef {import("../model/session.js").Session} Session */
/** @typedef {{skeletons: boolean, names: boolean, heat: boolean}} Layers */

/** Joints of the head, of which the highest carries the name. */
const HEAD = 5;
const FAINTEST = 0.15;

/**
 * Draw the persons of the frame shown.
 *
 * @param {HTMLCanvasElement} canvas As large as the picture on the screen.
 * @param {Session} session
 * @param {number} time Time of the frame.
 * @param {Layers} layers
 * @param {string} font Font family of the names.
 * @returns {{time: number, persons: number} | null} What was drawn; null while skeletons are loading.
 */
export function drawOverlay(canvas, session, time, layers, font) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const shown = session.poses.at(time);
  if (!shown) return null;
  const scale = canvas.width / session.scene.video.width;
  const unit = Math.max(1, canvas.width / 640);
  context.lineCap = "round";
  for (const { id, joints } of shown.persons) {
    const person = identityAt(session.document.identities, id, shown.time);
    const colour = personColour(rankOf(session, person));
    const isSelected = person === session.person;
    if (layers.skeletons) drawBones(context, session.scene.bones, joints, scale, colour, unit * (isSelected ? 3.4 : 2));
    if (layers.heat) drawHeat(context, joints, scale, heatAt(session, id, shown.time), unit);
    else if (layers.skeletons) drawJoints(context, joints, scale, colour, unit * (isSelected ? 2.6 : 1.8));
    if (layers.names) {
      const segment = segmentAt(session.document, person, shown.time);
      drawName(context, joints, scale, nameOf(session, person, segment), colour, unit, isSelected, font);
    }
  }
  return { time: shown.time, persons: shown.persons.length };
}

/**
 * Place of a person among the tracks, which is the same whatever is joined or swapped.
 *
 * @param {Session} session
 * @param {import("../model/types.js").PersonId} person
 */
export function rankOf(session, person) {
  return session.scene.tracks.findIndex(({ id }) => id === person);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number][]} bones
 * @param {Float32Array} joints
 * @param {number} scale
 * @param {string} colour
 * @param {number} width
 */
function drawBones(context, bones, joints, scale, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  for (const [a, b] of bones) {
    const score = Math.min(joints[a * 3 + 2], joints[b * 3 + 2]);
    const x = joints[a * 3];
    const toX = joints[b * 3];
    if (!(x === x && toX === toX)) continue;
    context.globalAlpha = opacityOf(score);
    context.beginPath();
    context.moveTo(x * scale, joints[a * 3 + 1] * scale);
    context.lineTo(toX * scale, joints[b * 3 + 1] * scale);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} joints
 * @param {number} scale
 * @param {string} colour
 * @param {number} radius
 */
function drawJoints(context, joints, scale, colour, radius) {
  context.fillStyle = colour;
  for (let joint = 0; joint * 3 < joints.length; joint++) {
    const x = joints[joint * 3];
    if (x !== x) continue;
    context.globalAlpha = opacityOf(joints[joint * 3 + 2]);
    dot(context, x * scale, joints[joint * 3 + 1] * scale, radius);
  }
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} joints
 * @param {number} scale
 * @param {number[] | null} heat
 * @param {number} unit
 */
function drawHeat(context, joints, scale, heat, unit) {
  if (!heat) return;
  for (let joint = 0; joint * 3 < joints.length; joint++) {
    const x = joints[joint * 3];
    const value = heat[joint];
    if (x !== x || value !== value) continue;
    context.fillStyle = heatColour(value);
    dot(context, x * scale, joints[joint * 3 + 1] * scale, unit * (2 + 2.5 * Math.min(value, 2)));
  }
}

/**
 * Attention of the joints of a track at a time.
 *
 * @param {Session} session
 * @param {import("../model/types.js").PersonId} track
 * @param {number} time
 */
function heatAt(session, track, time) {
  const attention = session.attention(track);
  if (!attention) return null;
  return attention.values[lastUpTo(attention.times, time + 0.001)] ?? null;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} joints
 * @param {number} scale
 * @param {string} name
 * @param {string} colour
 * @param {number} unit
 * @param {boolean} isSelected
 * @param {string} font
 */
function drawName(context, joints, scale, name, colour, unit, isSelected, font) {
  const place = headOf(joints);
  if (!place) return;
  const size = Math.round(11 * Math.min(Math.max(unit, 1), 2.2));
  context.font = `${isSelected ? 700 : 500} ${size}px ${font}`;
  const width = context.measureText(name).width + size;
  const height = size * 1.6;
  const left = Math.min(Math.max(place[0] * scale - width / 2, 0), context.canvas.width - width);
  const top = Math.max(place[1] * scale - height - size * 1.4, 0);
  context.fillStyle = "rgb(8 12 16 / 0.78)";
  context.beginPath();
  context.roundRect(left, top, width, height, size / 3);
  context.fill();
  if (isSelected) {
    context.strokeStyle = colour;
    context.lineWidth = unit;
    context.stroke();
  }
  // Lighter than the bones, because small letters of some hues are hard to read on black.
  context.fillStyle = `color-mix(in srgb, ${colour} 55%, white)`;
  context.textBaseline = "middle";
  context.fillText(name, left + size / 2, top + height / 2 + 0.5);
}

/**
 * @param {Session} session
 * @param {import("../model/types.js").PersonId} person
 * @param {import("../model/types.js").Segment | null} segment
 */
function nameOf(session, person, segment) {
  if (!segment || segment.rejected) return String(person);
  const certainty = session.scene.certainty(session.pieces, segment);
  const share = segment.reviewed || segment.label === null ? "" : ` ${Math.round(certainty * 100)} %`;
  return `${person}  ${segment.label ?? UNKNOWN}${share}`;
}

/**
 * Highest joint of the head, or of the body where no head is seen.
 *
 * @param {Float32Array} joints
 * @returns {[number, number] | null}
 */
function headOf(joints) {
  for (const count of [HEAD, joints.length / 3]) {
    let top = Infinity;
    let x = 0;
    let seen = 0;
    for (let joint = 0; joint < count; joint++) {
      if (joints[joint * 3] !== joints[joint * 3]) continue;
      top = Math.min(top, joints[joint * 3 + 1]);
      x += joints[joint * 3];
      seen++;
    }
    if (seen) return [x / seen, top];
  }
  return null;
}

/** @param {number} score */
function opacityOf(score) {
  return FAINTEST + (1 - FAINTEST) * Math.min(Math.max(score, 0), 1);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius */
function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
