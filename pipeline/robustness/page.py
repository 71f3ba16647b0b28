"""The HTML page of a robustness benchmark: tables of all results, with embedded figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.reporting.html_page import Block, Cell, Details, Image, Paragraph, Section, Table, render_page
from pipeline.robustness.results import Results, title_of
from pose_extraction.errors import counted
from recognition.robustness.conditions import CLEAN, Condition

if TYPE_CHECKING:
    from pipeline.robustness.bench import Bench


def page(bench: "Bench", results: Results, pictures: Mapping[str, tuple[str, bytes]], *, figures: str) -> str:
    """Return the HTML page with embedded figures.

    Args:
        bench: Definition of the benchmark.
        results: Results of the benchmark.
        pictures: Figure name -> (title, PNG content).
        figures: Folder of the vector versions, relative to the page.
    """
    main = bench.sources[0]
    once = bench.settings.repeats == 1
    blocks: list[Block] = [
        Paragraph(
            f"{counted(len(main.names), 'clip')}, {len(bench.label_names)} classes; each random damage is drawn "
            f"{'once' if once else f'{bench.settings.repeats} times'}, seeded by the clip, so that all runs get the "
            "same damage. Accuracy is top-1 in per cent; ± is the standard deviation over runs and draws. A clip "
            "without a visible person counts as a failure."
        ),
        *_runs(bench),
        Section("All conditions", _conditions(bench, results)),
    ]
    estimators = []
    if results.tables["estimators"]:
        estimators += _estimators(results)
    if results.tables["estimator_differences"]:
        estimators.append(_estimator_differences(results))
    if estimators:
        blocks.append(Section("Change of pose estimator (tables 2 and 3)", estimators))
    if results.tables["targeted"]:
        title = "Targeted masking: areas under deletion and insertion curves"
        blocks.append(Section(title, _targeted(results)))
    blocks.append(Section("Most confused pairs", _confused(results)))
    if results.tables["class_gains"]:
        blocks.append(Section("Gains per class", _gains(results)))
    for name, (words, png) in pictures.items():
        blocks.append(Section(words, [Image(words, png, caption=f"vector version: {figures}/{name}.svg")]))
    choices = [(name, str(value)) for name, value in bench.settings.model_dump(mode="json").items()]
    choices += [(name, str(value)) for name, value in results.summary["engine"].items()]
    choices.append(("skelpipe version", results.summary["version"]))
    blocks.append(Section("Settings", [Table(("setting", "value"), choices, word_columns=None)]))
    return render_page(f"Robustness on {main.path.name}, split {bench.split}", blocks)


def _runs(bench: "Bench") -> list[Block]:
    rows = [(one.method, str(one.path), one.digest[:12]) for one in bench.subjects]
    files = [(one.name, str(one.path), one.estimator or "unknown", str(len(one.names))) for one in bench.sources]
    return [
        Table(("method", "weights", "SHA-256"), rows, word_columns=None),
        Table(("skeletons", "file", "estimator", "clips"), files, word_columns=None),
        *(
            Paragraph(f"The errors of {name} were measured on {words}.")
            for name, words in bench.compared.items()
            if name in bench.cache.statistics
        ),
    ]


def _conditions(bench: "Bench", results: Results) -> list[Block]:
    """Return the accuracy of all methods, and the difference between the first method and each other one."""
    first, *others = results.methods
    found = {(row["family"], row["other"], row["level"], row["against"]): row for row in results.tables["differences"]}
    head = ["damage", "level", *results.methods, *(f"{first} - {other}" for other in others)]
    rows: list[list[str | Cell]] = []
    for condition in bench.conditions:
        row: list[str | Cell] = [title_of(condition), "" if condition.level is None else f"{condition.level}"]
        for method in results.methods:
            accuracy = results.accuracies[method, 0, condition]
            row.append(_per_cent(accuracy.mean, accuracy.spread))
        for other in others:
            one = found[condition.family, condition.other, condition.level, other]
            row.append(_interval(one["difference"], one["low"], one["high"]))
        rows.append(row)
    note = Paragraph(
        "Differences are shown with the 95 % interval of a paired bootstrap over clips; coloured if the interval "
        "excludes 0."
    )
    return [*([note] if others else []), Table(head, rows)]


def _estimators(results: Results) -> list[Block]:
    rows = [
        (
            f"{row['from']} → {row['to']}",
            row["method"],
            _damage(row),
            _per_cent(row["top1_from"], row["spread_from"]),
            _per_cent(row["top1_to"], row["spread_to"]),
            _interval(row["change"], row["low"], row["high"]),
            _points(row, "from"),
            _points(row, "to"),
        )
        for row in results.tables["estimators"]
    ]
    columns = ("on the first", "on the other", "change", "drop, first", "drop, other")
    return [
        Paragraph(
            "The same clips by both estimators. The drop is relative to the clean skeletons of the same estimator; "
            "intervals are from a bootstrap over clips."
        ),
        Table(("trained on, tested on", "method", "damage", *columns), rows),
    ]


def _estimator_differences(results: Results) -> Table:
    rows = [
        (
            f"{row['from']} → {row['to']}",
            f"{row['method']} - {row['against']}",
            _damage(row),
            _interval(row["difference_from"], row["low_from"], row["high_from"]),
            _interval(row["difference_to"], row["low_to"], row["high_to"]),
        )
        for row in results.tables["estimator_differences"]
    ]
    return Table(("trained on, tested on", "methods", "damage", "on the first", "on the other"), rows)


def _damage(row: Mapping[str, Any]) -> str:
    level = "" if row["family"] == CLEAN else f" {row['level']}"
    return title_of(Condition(row["family"], row["level"])) + level


def _targeted(results: Results) -> list[Block]:
    names = ("deletion_area", "deletion_less_random", "insertion_area", "insertion_less_random")
    rows = [(row["method"], row["order"], *(_area(row, name) for name in names)) for row in results.tables["targeted"]]
    return [
        Paragraph(
            "Joints are removed, or added, in order of the attention that they receive in the clean clip, or in random "
            "order; a removed joint is zero in the network's input. Lower is better for deletion, higher for "
            "insertion. Intervals are from a bootstrap over clips."
        ),
        Table(("method", "order", "deletion", "minus random", "insertion", "minus random"), rows, word_columns=None),
    ]


def _area(row: Mapping[str, Any], name: str) -> str:
    """Format an area, or a difference of two, with its interval."""
    stem = name.removesuffix("_area")
    if row[name] is None:
        return ""
    return f"{row[name]:.3f} ({row[f'{stem}_low']:.3f} to {row[f'{stem}_high']:.3f})"


def _gains(results: Results) -> list[Block]:
    """Return the gains of the first method over each other one per class, collapsed because there are many classes."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in results.tables["class_gains"]:
        rows.setdefault(row["against"], []).append(row)
    first = results.methods[0]
    blocks: list[Block] = []
    for other, listed in rows.items():
        cells = [
            (
                row["class"],
                str(row["clips"]),
                _per_cent(row["top1"]),
                _per_cent(row["top1_against"]),
                _interval(row["gain"], row["low"], row["high"]),
            )
            for row in sorted(listed, key=lambda row: -row["gain"])
        ]
        table = Table(("class", "clips", first, other, "gain"), cells, word_columns=1)
        blocks.append(Details(f"{first} - {other}, {listed[0]['condition']}", [table]))
    return blocks


def _confused(results: Results) -> list[Block]:
    """Return the most confused pairs per condition; all but the clean one are collapsed."""
    rows: dict[Condition, list[tuple[str, ...]]] = {}
    for row in results.tables["confused_pairs"]:
        condition = Condition(row["family"], row["level"], row["other"])
        rows.setdefault(condition, []).append(
            (
                row["method"],
                f"{row['first']} / {row['second']}",
                f"{row['clips']:.1f}",
                f"{100 * row['share_of_failures']:.1f}",
                row["clips_of_others"],
            )
        )
    head = ("method", "pair", "clips", "% of failures", "clips of the others")
    return [
        Details(
            title_of(condition) + ("" if condition.level is None else f" {condition.level}"),
            [Table(head, listed, word_columns=None)],
            open=condition.family == CLEAN,
        )
        for condition, listed in rows.items()
    ]


def _per_cent(share: float, spread: float | None = None) -> str:
    return f"{100 * share:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")


def _points(row: Mapping[str, Any], side: str) -> str:
    """Format a drop with its interval."""
    drop, low, high = (100 * row[f"{name}_{side}"] for name in ("drop", "drop_low", "drop_high"))
    return f"{drop:.1f} ({low:+.1f} to {high:+.1f})"


def _interval(difference: float, low: float, high: float) -> Cell:
    style = "better" if low > 0 else "worse" if high < 0 else ""
    return Cell(f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})", style)
