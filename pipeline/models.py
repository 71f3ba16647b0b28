"""`skelpipe models`: lists the available networks, their published accuracy, and the weights on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pose_extraction.networks.model_zoo import ModelEntry, all_models
from pose_extraction.networks.weights import cached_path


def models(*, as_json: bool = False, cache_dir: Path | None = None, console: Console | None = None) -> None:
    """Prints all models.

    Args:
        as_json: Whether to print a JSON list of objects instead of a table.
        cache_dir: Folder of the weights; the default cache folder if None.
        console: Console for the table; standard output if None.
    """
    console = console or Console()
    if as_json:
        rows = [_json_row(entry, cache_dir) for entry in all_models()]
        # Written directly, because rich wraps long lines at the width of the terminal.
        console.file.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("name", "input", "AP %", "on", "licence", "size", "here"):
        # Never wrapped, so that names can be copied.
        table.add_column(title, no_wrap=True)
    for kind in ("estimator", "detector"):
        table.add_row(f"[italic]{kind}s[/italic]")
        for entry in all_models():
            if entry.kind == kind:
                table.add_row(*_table_row(entry, cache_dir))
    console.print(table)
    short = ", ".join(f"{alias} = {entry.name}" for entry in all_models() for alias in entry.aliases)
    console.print(f"Short names: {short}.", highlight=False)
    console.print(
        "Input is height x width; ~ marks a size estimated from the number of weights. ONNX files work as well."
    )


def _table_row(entry: ModelEntry, cache_dir: Path | None) -> tuple[str, ...]:
    size = f"{entry.input_size[0]}x{entry.input_size[1]}" if entry.input_size else "any"
    precision = f"{entry.ap * 100:.1f}" if entry.ap is not None else "-"
    known, estimated = entry.size, 4 * entry.parameters
    megabytes = f"{known / 1e6:.0f} MB" if known is not None else f"~{estimated / 1e6:.0f} MB"
    here = "yes" if cached_path(entry, cache_dir).exists() else "no"
    return entry.name, size, precision, entry.ap_set or "-", entry.licence, megabytes, here


def _json_row(entry: ModelEntry, cache_dir: Path | None) -> dict[str, Any]:
    path = cached_path(entry, cache_dir)
    return {**asdict(entry), "path": str(path), "on_this_machine": path.exists()}
