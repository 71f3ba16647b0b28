"""Output of `--dry-run`: the settings of a run, and what it costs."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table


def print_plan(
    console: Console | None,
    *,
    settings: Mapping[str, Any],
    facts: Mapping[str, str],
    notes: Iterable[str],
    costs: Mapping[str, str],
) -> None:
    """Prints what a run would do.

    Args:
        console: Console for the output; standard output if None.
        settings: Resolved settings, as in a config.
        facts: Facts about data and network by name.
        notes: Notes for the user, one sentence each.
        costs: Costs by name.
    """
    console = console or Console()
    console.print(yaml.safe_dump(dict(settings), sort_keys=False), highlight=False, markup=False)
    _print_table(console, facts)
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    _print_table(console, costs)


def _print_table(console: Console, rows: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(f"{name:10}", value)
    console.print(table)
