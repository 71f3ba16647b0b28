/** Binary search in ascending numbers. */

/**
 * Return the index of the last value up to a limit, or -1.
 *
 * @param {ArrayLike<number>} values
 * @param {number} limit
 */
export function lastUpTo(values, limit) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Return the index of the first value above a limit, or the number of values.
 *
 * @param {ArrayLike<number>} values
 * @param {number} limit
 */
export function firstAbove(values, limit) {
  return lastUpTo(values, limit) + 1;
}
