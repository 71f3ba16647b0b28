"""Files of a robustness benchmark: a self-contained page, figures as PNG and SVG, numbers as JSON and CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.reporting.tables import as_csv, as_json
from pipeline.robustness.figures import DRAWN, draw_all
from pipeline.robustness.page import page
from pipeline.robustness.results import Results, title_of
from pose_extraction.files import atomic_write
from recognition.robustness.conditions import BY_NAME, Condition

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
    _write(out / PAGE, page(bench, results, pictures, figures=FIGURES).encode())


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
