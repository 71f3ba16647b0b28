/** Undo and redo over documents that are never changed in place. */

/** Number of steps to go back: more than anybody remembers, and small, because documents share their segments. */
const LONGEST = 1000;

/**
 * @template T
 * @typedef {object} History
 * @property {T} present
 * @property {readonly {document: T, what: string}[]} past Each with the edit that followed it.
 * @property {readonly {document: T, what: string}[]} future Each with the edit that led to it; the next one is last.
 */

/** @template T @param {T} document @returns {History<T>} */
export function begin(document) {
  return { present: document, past: [], future: [] };
}

/**
 * @template T
 * @param {History<T>} history
 * @param {T} document
 * @param {string} what Name of the edit.
 * @returns {History<T>}
 */
export function record(history, document, what) {
  if (document === history.present) return history;
  return {
    present: document,
    past: [...history.past, { document: history.present, what }].slice(-LONGEST),
    future: [],
  };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function undo(history) {
  const last = history.past.at(-1);
  if (!last) return history;
  const future = [...history.future, { document: history.present, what: last.what }];
  return { present: last.document, past: history.past.slice(0, -1), future };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function redo(history) {
  const next = history.future.at(-1);
  if (!next) return history;
  const past = [...history.past, { document: history.present, what: next.what }];
  return { present: next.document, past, future: history.future.slice(0, -1) };
}
