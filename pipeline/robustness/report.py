"""Files of a robustness benchmark: a self-contained page, figures as PNG and SVG, numbers as JSON and CSV."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.reporting.html_page import document, html_table, html_table_of, picture
from pipeline.reporting.tables import as_csv, as_json
from pipeline.robustness.figures import DRAWN, draw_all
from pipeline.robustness.results import Results, title_of
from pose_extraction.files import atomic_write
from recognition.robustness.conditions import BY_NAME, CLEAN, Condition

if TYPE_CHECKING:
    from pipeline.robustness.bench import Bench
from recognition.evaluation.figures import figure_bytes

PAGE, NUMBERS, FIGURES = "robustness.html", "robustness.json", "figures"


def write_report(bench: "Bench", results: Results, out: Path, *, figures: bool = True) -> None:
    """Write all files of the report below a folder; each file is written atomically.

    Tables and figures of an earlier report that this one does not contain are removed, because they belong to other
    runs.

    Args:
        bench: Definition of the benchmark.
        results: Results of the benchmark.
        out: Folder of the report.
        figures: Whether to draw figures.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, tuple[str, bytes]] = {}
    for name, (words, figure) in (draw_all(bench, results) if figures else {}).items():
        png, svg = figure_bytes(figure, "png"), figure_bytes(figure, "svg")
        pictures[name] = (words, png)
        _write(out / FIGURES / f"{name}.png", png)
        _write(out / FIGURES / f"{name}.svg", svg)
    for name in DRAWN:
        if name not in pictures:
            for kind in ("png", "svg"):
                (out / FIGURES / f"{name}.{kind}").unlink(missing_ok=True)
    for name, rows in results.tables.items():
        if rows:
            _write(out / f"{name}.csv", as_csv(rows).encode())
        else:
            (out / f"{name}.csv").unlink(missing_ok=True)
    _write(out / NUMBERS, as_json(results.summary).encode())
    _write(out / PAGE, page(bench, results, pictures).encode())


def page(bench: "Bench", results: Results, pictures: Mapping[str, tuple[str, bytes]]) -> str:
    """Return the HTML page with embedded figures.

    Args:
        bench: Definition of the benchmark.
        results: Results of the benchmark.
        pictures: Figure name -> (title, PNG content).
    """
    main = bench.sources[0]
    title = f"Robustness on {main.path.name}, split {bench.split}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(main.names)} clips, {len(bench.label_names)} classes; each random damage is drawn "
        f"{'once' if bench.settings.repeats == 1 else f'{bench.settings.repeats} times'}, seeded by the clip, so that "
        "all runs get the same damage. Accuracy is top-1 in per cent; &plusmn; is the standard deviation over runs and "
        "draws. A clip without a visible person counts as a failure.</p>",
        _runs(bench),
        "<h2>All conditions</h2>",
        _conditions(bench, results),
    ]
    if results.tables["estimators"]:
        parts += ["<h2>Change of pose estimator (tables 2 and 3)</h2>", _estimators(results)]
    if results.tables["estimator_differences"]:
        parts.append(_estimator_differences(results))
    if results.tables["targeted"]:
        parts += ["<h2>Targeted masking: areas under deletion and insertion curves</h2>", _targeted(results)]
    parts += ["<h2>Most confused pairs</h2>", _confused(results)]
    if results.tables["class_gains"]:
        parts += ["<h2>Gains per class</h2>", _gains(results)]
    for name, (words, png) in pictures.items():
        below = f"vector version: {FIGURES}/{escape(name)}.svg"
        parts.append(f"<h2>{escape(words)}</h2>{picture(words, png, caption=below)}")
    choices = [(name, str(value)) for name, value in bench.settings.model_dump(mode="json").items()]
    choices += [(name, str(value)) for name, value in results.summary["engine"].items()]
    choices.append(("skelpipe version", results.summary["version"]))
    parts += ["<h2>Settings</h2>", html_table(("setting", "value"), choices)]
    return document(title, parts)


def _runs(bench: "Bench") -> str:
    rows = [(one.method, str(one.path), one.digest[:12]) for one in bench.subjects]
    files = [(one.name, str(one.path), one.estimator or "unknown", str(len(one.names))) for one in bench.sources]
    compared = "".join(
        f"<p>The errors of {escape(name)} were measured on {escape(words)}.</p>"
        for name, words in bench.compared.items()
        if name in bench.cache.statistics
    )
    return (
        html_table(("method", "weights", "SHA-256"), rows)
        + html_table(("skeletons", "file", "estimator", "clips"), files)
        + compared
    )


def _conditions(bench: "Bench", results: Results) -> str:
    """Return the accuracy of all methods, and the difference between the first method and each other one."""
    first, *others = results.methods
    found = {(row["family"], row["other"], row["level"], row["against"]): row for row in results.tables["differences"]}
    head = ["damage", "level", *results.methods, *(f"{first} - {other}" for other in others)]
    rows: list[list[str]] = []
    for condition in bench.conditions:
        row = [escape(title_of(condition)), escape("" if condition.level is None else f"{condition.level}")]
        for method in results.methods:
            accuracy = results.accuracies[method, 0, condition]
            row.append(_per_cent(accuracy.mean, accuracy.spread))
        for other in others:
            one = found[condition.family, condition.other, condition.level, other]
            row.append(_interval(one["difference"], one["low"], one["high"]))
        rows.append(row)
    body = "".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in rows)
    note = (
        "<p>Differences are shown with the 95 % interval of a paired bootstrap over clips; coloured if the interval "
        "excludes 0.</p>"
        if others
        else ""
    )
    return note + html_table_of(head, body)


def _estimators(results: Results) -> str:
    rows = [
        (
            f"{escape(row['from'])} &rarr; {escape(row['to'])}",
            escape(row["method"]),
            _damage(row),
            _per_cent(row["top1_from"], row["spread_from"]),
            _per_cent(row["top1_to"], row["spread_to"]),
            _interval(row["change"], row["low"], row["high"]),
            _points(row, "from"),
            _points(row, "to"),
        )
        for row in results.tables["estimators"]
    ]
    head = (
        "trained on, tested on",
        "method",
        "damage",
        "on the first",
        "on the other",
        "change",
        "drop, first",
        "drop, other",
    )
    body = "".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in rows)
    note = (
        "<p>The same clips by both estimators. The drop is relative to the clean skeletons of the same estimator; "
        "intervals are from a bootstrap over clips.</p>"
    )
    return note + html_table_of(head, body)


def _estimator_differences(results: Results) -> str:
    rows = [
        (
            f"{escape(row['from'])} &rarr; {escape(row['to'])}",
            escape(f"{row['method']} - {row['against']}"),
            _damage(row),
            _interval(row["difference_from"], row["low_from"], row["high_from"]),
            _interval(row["difference_to"], row["low_to"], row["high_to"]),
        )
        for row in results.tables["estimator_differences"]
    ]
    head = ("trained on, tested on", "methods", "damage", "on the first", "on the other")
    return html_table_of(head, "".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in rows))


def _damage(row: Mapping[str, Any]) -> str:
    level = "" if row["family"] == CLEAN else f" {row['level']}"
    return escape(title_of(Condition(row["family"], row["level"])) + level)


def _targeted(results: Results) -> str:
    rows = [
        (
            row["method"],
            row["order"],
            _area(row, "deletion_area"),
            _area(row, "deletion_less_random"),
            _area(row, "insertion_area"),
            _area(row, "insertion_less_random"),
        )
        for row in results.tables["targeted"]
    ]
    note = (
        "<p>Joints are removed, or added, in order of the attention that they receive in the clean clip, or in random "
        "order; a removed joint is zero in the network's input. Lower is better for deletion, higher for insertion. "
        "Intervals are from a bootstrap over clips.</p>"
    )
    head = ("method", "order", "deletion", "minus random", "insertion", "minus random")
    return note + html_table(head, rows)


def _area(row: Mapping[str, Any], name: str) -> str:
    """Format an area, or a difference of two, with its interval."""
    stem = name.removesuffix("_area")
    if row[name] is None:
        return ""
    return f"{row[name]:.3f} ({row[f'{stem}_low']:.3f} to {row[f'{stem}_high']:.3f})"


def _gains(results: Results) -> str:
    """Return the gains of the first method over each other one per class, collapsed because there are many classes."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in results.tables["class_gains"]:
        rows.setdefault(row["against"], []).append(row)
    parts = []
    for other, listed in rows.items():
        body = "".join(
            f'<tr><td class="word">{escape(row["class"])}</td><td>{row["clips"]}</td><td>{_per_cent(row["top1"])}</td>'
            f"<td>{_per_cent(row['top1_against'])}</td>{_interval(row['gain'], row['low'], row['high'])}</tr>"
            for row in sorted(listed, key=lambda row: -row["gain"])
        )
        first = results.methods[0]
        table = html_table_of(("class", "clips", first, other, "gain"), body)
        summary = f"{first} - {other}, {listed[0]['condition']}"
        parts.append(f"<details><summary>{escape(summary)}</summary>{table}</details>")
    return "".join(parts)


def _confused(results: Results) -> str:
    """Return the most confused pairs per condition; all but the clean one are collapsed."""
    rows: dict[Condition, list[Sequence[str]]] = {}
    for row in results.tables["confused_pairs"]:
        condition = Condition(row["family"], row["level"], row["other"])
        pair = f"{row['first']} / {row['second']}"
        rows.setdefault(condition, []).append(
            (
                row["method"],
                pair,
                f"{row['clips']:.1f}",
                f"{100 * row['share_of_failures']:.1f}",
                row["clips_of_others"],
            )
        )
    parts = []
    for condition, listed in rows.items():
        level = "" if condition.level is None else f" {condition.level}"
        state = " open" if condition.family == CLEAN else ""
        table = html_table(("method", "pair", "clips", "% of failures", "clips of the others"), listed)
        parts.append(
            f"<details{state}><summary>{escape(title_of(condition))}{escape(level)}</summary>{table}</details>"
        )
    return "".join(parts)


def _cell(text: str) -> str:
    return text if text.startswith("<td") else f"<td>{text}</td>"


def _per_cent(share: float, spread: float | None = None) -> str:
    return f"{100 * share:.1f}" + (f" &plusmn; {100 * spread:.1f}" if spread is not None else "")


def _points(row: Mapping[str, Any], side: str) -> str:
    """Format a drop with its interval."""
    drop, low, high = (100 * row[f"{name}_{side}"] for name in ("drop", "drop_low", "drop_high"))
    return f"{drop:.1f} ({low:+.1f} to {high:+.1f})"


def _interval(difference: float, low: float, high: float) -> str:
    kind = "better" if low > 0 else "worse" if high < 0 else ""
    return f'<td class="{kind}">{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})</td>'


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def summary_rows(results: Results) -> list[dict[str, Any]]:
    """Return the summary: clean accuracy, and accuracy at the highest level of each family, for every method.

    For a family whose levels have no order, the level with the lowest total accuracy over all methods is used.
    """
    levels: dict[tuple[str, str], dict[Any, list[dict[str, Any]]]] = {}
    for row in results.tables["conditions"]:
        levels.setdefault((row["family"], row["other"]), {}).setdefault(row["level"], []).append(row)
    shown = {
        key: min(found.values(), key=lambda rows: sum(row["top1"] for row in rows))
        if key[0] in BY_NAME and BY_NAME[key[0]].in_words
        else list(found.values())[-1]
        for key, found in levels.items()
    }
    return [
        {
            "damage": title_of(Condition(family, rows[0]["level"], other)),
            "level": rows[0]["level"],
            "unit": BY_NAME[family].unit if family in BY_NAME else "",
            **{row["method"]: row["top1"] for row in rows},
        }
        for (family, other), rows in shown.items()
    ]


def print_table(results: Results, console: Console) -> None:
    """Print the summary as a table."""
    title = "top-1, clean and at the highest level of each damage (worst level if levels have no order)"
    table = Table("damage", "level", *results.methods, title=title)
    for row in summary_rows(results):
        cells = (f"{row[method]:.1%}" for method in results.methods)
        table.add_row(Text(row["damage"]), "" if row["level"] is None else str(row["level"]), *cells)
    console.print(table)
