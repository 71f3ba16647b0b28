/** Attention of the joints, on the scale of the colours. */

/**
 * @typedef {object} Attention
 * @property {number[]} times
 * @property {(number | null)[][]} values Per time and joint; 1 is the mean over the joints, null stands for no value.
 */

/** Share of the values that the scale covers. */
const COVERED = 0.95;
/** Least deviation from the mean, so that even attention looks even. */
const LEAST = 0.02;

/**
 * Stretch the values around the mean, 1, so that nearly all of them fill the range from 0 to 2.
 *
 * Attention differs by a few per cent in some networks and by a multiple in others, and only the differences matter.
 *
 * @param {Attention} attention
 * @returns {{times: number[], values: number[][]}} NaN stands for no value.
 */
export function stretched({ times, values }) {
  const known = values.map((row) => row.map((value) => value ?? NaN));
  const deviations = known.flat().map((value) => Math.abs(value - 1));
  const sorted = Float64Array.from(deviations.filter(Number.isFinite)).sort();
  const spread = Math.max(LEAST, sorted[Math.floor(COVERED * (sorted.length - 1))] ?? LEAST);
  return { times, values: known.map((row) => row.map((value) => 1 + (value - 1) / spread)) };
}
