"""Results of a protocol as a table."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Measures in the order of the table, with the kind of their values.
ROWS = (
    ("clips", "count"),
    ("top1", "share"),
    ("mean_class", "share"),
    ("actions", "count"),
    ("proposals", "count"),
    ("mAP_a", "share"),
    ("mAP_v", "share"),
    ("MPJPE", "length"),
    ("MPJPE_of_standing_still", "length"),
)


def print_protocol(result: dict[str, Any], console: Console) -> None:
    """Print the results as a table.

    Args:
        result: Results of `run_protocol`.
        console: Receives the table.
    """
    title = f"{result['protocol']}, {Path(result['data']).name}, by {Path(result['runs'][0]).parent.name}"
    table = Table("measure", "value", title=Text(title + (", from scratch" if result["scratch"] else "")))
    table.title_justify = "left"
    for name, kind in ROWS:
        if result.get(name) is not None:
            shown = _shown(result[name], kind, unit=result.get("unit", ""))
            table.add_row(name, shown + (_uncertainty(result) if name == "top1" else ""))
    console.print(table)


def _shown(value: float, kind: str, *, unit: str) -> str:
    if kind == "share":
        return f"{value:.2%}"
    return f"{value:.1f} {unit}" if kind == "length" else str(value)


def _uncertainty(result: dict[str, Any]) -> str:
    """Return the interval or the deviation of the top-1 accuracy, in brackets."""
    found = ""
    if result.get("top1_interval"):
        low, high = result["top1_interval"]
        found += f"  (95 % interval {low:.2%} to {high:.2%})"
    if result.get("top1_runs"):
        found += f"  (mean of {len(result['top1_runs'])} subsets, standard deviation {result['top1_deviation']:.2%})"
    return found
