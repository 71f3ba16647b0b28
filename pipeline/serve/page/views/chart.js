/** Curves of a training as a line chart in SVG. */

import { classColour } from "../colours.js";
import { h, svg } from "../dom.js";

const WIDTH = 400;
const HEIGHT = 180;
const LEFT = 44;
const BOTTOM = 26;
const TOP = 8;
const LINES = 4;

/**
 * Draw curves that share one scale.
 *
 * @param {string} title
 * @param {{name: string, points: [number, number][]}[]} curves
 * @param {number} epochs Right end of the axis.
 */
export function chart(title, curves, epochs) {
  const values = curves.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const top = niceAbove(Math.max(...values, 1e-6));
  const last = Math.max(epochs, 1);
  /** @param {number} epoch */
  const x = (epoch) => LEFT + (epoch / last) * (WIDTH - LEFT - 10);
  /** @param {number} value */
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "chart",
    role: "img",
    "aria-label": describe(title, curves),
  });
  for (let i = 0; i <= LINES; i++) {
    const value = (top * i) / LINES;
    drawing.append(
      svg("line", { x1: LEFT, x2: WIDTH - 10, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
    );
  }
  drawing.append(
    svg("text", { x: LEFT, y: HEIGHT - 6 }, "0"),
    svg("text", { x: WIDTH - 10, y: HEIGHT - 6, "text-anchor": "end" }, `epoch ${last}`),
  );
  curves.forEach(({ points }, rank) => {
    const path = points
      .map(([epoch, value], i) => `${i ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`)
      .join("");
    const [endX, endY] = points.at(-1) ?? [0, 0];
    drawing.append(
      svg("path", {
        d: path,
        fill: "none",
        stroke: classColour(rank, 1),
        "stroke-width": 2,
        "stroke-linejoin": "round",
      }),
      svg("circle", { cx: x(endX), cy: y(endY), r: 3, fill: classColour(rank, 1) }),
    );
  });
  const legend = curves.map(({ name, points }, rank) => {
    const swatch = h("span.swatch");
    swatch.style.background = classColour(rank, 1);
    return h("li", null, swatch, `${name} ${short(points.at(-1)?.[1] ?? NaN)}`);
  });
  return h("figure.curves", null, h("figcaption", null, title), drawing, h("ul.legend", null, ...legend));
}

/**
 * Sort curves into charts by their scale: shares, and everything else.
 *
 * @param {Record<string, [number, number][]>} curves
 * @param {number} epochs
 */
export function charts(curves, epochs) {
  const all = Object.entries(curves ?? {})
    .filter(([, points]) => points.length)
    .map(([name, points]) => ({ name: name.replaceAll("_", " "), points }));
  const isShare = (/** @type {{name: string}} */ { name }) =>
    /top|acc|mean class|f1|recall|precision/.test(name) && !/loss/.test(name);
  const losses = all.filter((curve) => !isShare(curve));
  const shares = all.filter(isShare);
  return [losses.length && chart("Loss", losses, epochs), shares.length && chart("Accuracy", shares, epochs)].filter(
    (one) => !!one,
  );
}

/** @param {number} value */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 10].map((factor) => factor * power).find((nice) => nice >= value * 0.999) ?? value;
}

/** @param {number} value */
function short(value) {
  if (!Number.isFinite(value)) return "";
  return value === 0 ? "0" : value.toPrecision(value < 1 ? 2 : 3).replace(/\.?0+$/, "");
}

/** @param {string} title @param {{name: string, points: [number, number][]}[]} curves */
function describe(title, curves) {
  return `${title}: ${curves.map(({ name, points }) => `${name} ${short(points.at(-1)?.[1] ?? NaN)}`).join(", ")}`;
}
