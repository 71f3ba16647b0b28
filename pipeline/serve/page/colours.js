/** Colours of persons and classes, and those of the theme for drawing on a canvas. */

/** Hues far apart from one another, in degrees; red is left to errors. */
const HUES = [172, 268, 38, 214, 320, 96, 240, 60, 295, 140];

/** @param {number} rank Place of a person among the tracks. */
export function personColour(rank) {
  return `hsl(${HUES[rank % HUES.length]} 85% ${rank % 20 < HUES.length ? 66 : 80}%)`;
}

/**
 * @param {number} rank Place of a class; negative for none.
 * @param {number} opacity
 */
export function classColour(rank, opacity) {
  if (rank < 0) return `hsl(215 10% 55% / ${opacity})`;
  // Steps of the golden angle keep neighbours apart, however many classes there are.
  const hue = Math.round(195 + rank * 137.508) % 360;
  // Blue and violet are lighter, because they look darker than other hues.
  const lightness = 52 + Math.round(12 * Math.max(0, 1 - Math.abs(hue - 250) / 50));
  return `hsl(${hue} 62% ${lightness}% / ${opacity})`;
}

/**
 * Colour of the attention on a joint, from blue (none) over white (mean) to orange (twice the mean and more).
 *
 * @param {number} value 1 for the mean over the joints.
 */
export function heatColour(value) {
  const share = Math.min(Math.max(value / 2, 0), 1);
  if (share < 0.5) return `hsl(212 80% ${30 + share * 120}%)`;
  return `hsl(${48 - (share - 0.5) * 64} 95% ${90 - (share - 0.5) * 80}%)`;
}

/** @typedef {Record<"text" | "muted" | "line" | "panel" | "lane" | "accent" | "danger" | "font", string>} Theme */

/** Read the colours of the style sheet, in the theme that is on. @returns {Theme} */
export function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["text", "muted", "line", "panel", "lane", "accent", "danger", "font"];
  return /** @type {Theme} */ (
    Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]))
  );
}

/** Call back when the theme changes. @param {() => void} callback @returns {() => void} Stops calling back. */
export function onThemeChange(callback) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => query.removeEventListener("change", callback);
}
