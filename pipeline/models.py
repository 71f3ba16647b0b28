"""`skelpipe models`: which networks there are, how good they are said to be, and which weights are on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from pose_extraction.download import Progress as ProgressCallback
from pose_extraction.model_zoo import ModelEntry, all_models
from pose_extraction.weights import cached_path


def models(*, as_json: bool = False, cache_dir: Path | None = None, console: Console | None = None) -> None:
    """Prints all models.

    Args:
        as_json: A list of objects for programs in place of the table.
        cache_dir: Where weights are looked for; the cache folder if None.
        console: Where the table goes; the terminal if None.
    """
    console = console or Console()
    if as_json:
        rows = [_json_row(entry, cache_dir) for entry in all_models()]
        # Not through rich, which would wrap long lines to the width of the terminal.
        console.file.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("name", "input", "AP %", "on", "licence", "size", "here"):
        # In one piece, whatever the width of the terminal: names are there to be copied.
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
        "Input is height x width; ~ is reckoned from the number of weights. An ONNX file serves as either, too."
    )


@contextmanager
def download_progress(entry: ModelEntry, console: Console | None = None) -> Iterator[ProgressCallback]:
    """A progress bar for `pose_extraction.weights.resolve`, which vanishes when the download is done.

    Shows nothing until the first byte count arrives, so that weights in the cache leave no trace on the screen. Off a
    terminal it writes one line when a download starts.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(entry.filename, visible=False, total=None)
        announced = False

        def show(done: int, total: int | None) -> None:
            nonlocal announced
            if not announced and not console.is_terminal:
                console.print(f"downloading {entry.url}", soft_wrap=True)
            announced = True
            bar.update(task, completed=done, total=total, visible=True)

        yield show


def _table_row(entry: ModelEntry, cache_dir: Path | None) -> tuple[str, ...]:
    size = f"{entry.input_size[0]}x{entry.input_size[1]}" if entry.input_size else "any"
    precision = f"{entry.ap * 100:.1f}" if entry.ap is not None else "-"
    known, reckoned = entry.size, 4 * entry.parameters
    megabytes = f"{known / 1e6:.0f} MB" if known is not None else f"~{reckoned / 1e6:.0f} MB"
    here = "yes" if cached_path(entry, cache_dir).exists() else "no"
    return entry.name, size, precision, entry.ap_set or "-", entry.licence, megabytes, here


def _json_row(entry: ModelEntry, cache_dir: Path | None) -> dict[str, Any]:
    path = cached_path(entry, cache_dir)
    return {**asdict(entry), "path": str(path), "on_this_machine": path.exists()}
