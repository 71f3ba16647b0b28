/** Comparison of a new recognizer with the one that it started from. */

import { counted, h, percent } from "../dom.js";

const NAMES = /** @type {Record<string, string>} */ ({
  top1: "Top-1",
  top5: "Top-5",
  mean_class: "Mean of the classes",
});

/**
 * @param {any} result Accuracies `old` and `new` on held-out clips and on `corrections`, `changed` clips, `notes`.
 * @returns {Node[]}
 */
export function comparison(result) {
  const { corrections } = result;
  const rows = result.clips ? scoreRows(result.old, result.new) : [];
  if (corrections) {
    rows.push(
      scoreRow(
        `Your corrections (${counted(corrections.clips, "segment")})`,
        corrections.old.top1,
        corrections.new.top1,
      ),
    );
  }
  const basis = `On ${counted(result.clips ?? 0, "clip")} that neither was trained on, and on your corrections.`;
  return [
    h("h3", null, "Comparison"),
    ...(result.clips ? [h("p.muted", null, basis)] : []),
    ...(result.notes ?? []).map((/** @type {string} */ note) => h("p.muted", null, `Note: ${note}.`)),
    table("table.scores", ["", "Old", "New", "Change"], rows),
    ...changedClips(result.changed ?? []),
  ];
}

/** @param {any[]} changed @returns {Node[]} */
function changedClips(changed) {
  if (!changed.length) return [];
  const rows = changed.map((one) =>
    h(
      "tr",
      { class: one.new === one.label ? "better" : one.old === one.label ? "worse" : null },
      h("th", { scope: "row" }, one.clip),
      ...[one.label, one.old, one.new].map((text) => h("td", null, text ?? "–")),
    ),
  );
  const heading = h("summary", null, `${counted(changed.length, "clip")} changed`);
  return [h("details.changed", null, heading, table("table", ["Clip", "Label", "Old", "New"], rows))];
}

/** @param {string} selector @param {string[]} heads @param {Node[]} rows */
function table(selector, heads, rows) {
  const head = h("tr", null, ...heads.map((text) => h("th", { scope: "col" }, text)));
  return h("div.table-scroll", null, h(selector, null, h("thead", null, head), h("tbody", null, ...rows)));
}

/** @param {Record<string, number | null>} old @param {Record<string, number | null>} next */
function scoreRows(old, next) {
  const names = [...new Set([...Object.keys(old), ...Object.keys(next)])];
  return names.map((name) => scoreRow(NAMES[name] ?? name.replaceAll("_", " "), old[name], next[name]));
}

/** @param {string} name @param {number | null | undefined} old @param {number | null | undefined} next */
function scoreRow(name, old, next) {
  /** @param {number | null | undefined} value */
  const share = (value) => (typeof value === "number" ? percent(value) : "–");
  const change = typeof old === "number" && typeof next === "number" ? Math.round((next - old) * 100) : 0;
  const look = change > 0 ? ".better" : change < 0 ? ".worse" : "";
  const text = change ? `${change > 0 ? "+" : "−"}${Math.abs(change)} points` : "";
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, name),
    h("td.number", null, share(old)),
    h("td.number", null, share(next)),
    h(`td.number${look}`, null, text),
  );
}
