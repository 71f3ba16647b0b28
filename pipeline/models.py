"""`skelpipe models`: lists the networks, their published accuracy, and what of them is on this machine.

The recognizers and initial weights of the package come last.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.reporting.progress import download_progress
from pose_extraction.engines.engine import has_module
from pose_extraction.networks.model_zoo import ModelEntry, all_models, lookup
from pose_extraction.networks.openmmlab import mmlab_packages
from pose_extraction.networks.weights import cached_path, hub_file, is_here, resolve
from recognition.packed import BASE, read_described, shipped, shipped_names


@dataclass(frozen=True)
class PackagedWeights:
    """Weights of the package for stage two.

    Args:
        name: Name for `--run` and `--init`.
        kind: "recognizer" or "initial_weights".
        path: The file.
        size: Its size in bytes.
        actions: Number of actions that it recognises; None for initial weights.
        use: Commands that use it.
    """

    name: str
    kind: str
    path: Path
    size: int
    actions: int | None
    use: tuple[str, ...]


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
        rows += [_json_row_of_weights(one) for one in packaged_weights()]
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
    missing = sorted({name for entry in all_models() for name in missing_packages(entry)})
    if missing:
        console.print(f"* needs packages that are not installed: {', '.join(missing)}.", highlight=False)
    names = {entry.name for entry in all_models()}
    # An alias that is also a name stands for the detector that belongs to that estimator.
    aliases = [(alias, entry.name) for entry in all_models() for alias in entry.aliases if alias not in names]
    short = ", ".join(f"{alias} = {name}" for alias, name in aliases)
    console.print(f"Short names: {short}.", highlight=False)
    console.print(
        "Input is height x width; ~ marks a size estimated from the number of weights. Weights that are not here are "
        "downloaded at the first use, or with --download NAME. ONNX files work as well.\n"
    )
    console.print(_table_of_weights())


def fetch(names: Sequence[str], *, console: Console | None = None) -> list[Path]:
    """Downloads the weights of networks, for later use without a connection.

    Args:
        names: Names of networks, or of weights of the package.
        console: Console for the progress; standard error if None.

    Returns:
        Their paths.

    Raises:
        UsageError: A network does not exist.
        WeightsError: Weights are not available.
    """
    # Those of the package need no download.
    entries = [shipped(name) or lookup(name) for name in names]
    paths = []
    for entry in entries:
        if isinstance(entry, Path):
            paths.append(entry)
            continue
        with download_progress(entry, console) as progress:
            paths.append(resolve(entry, progress=progress))
    return paths


def packaged_weights() -> list[PackagedWeights]:
    """Returns the recognizers and the initial weights that the package contains.

    Raises:
        WeightsError: A file of the package is missing or damaged.
    """
    found = []
    for name in shipped_names():
        path = shipped(name)
        assert path is not None
        training = f"skelpipe train --init {name}"
        if name == BASE:
            found.append(PackagedWeights(name, "initial_weights", path, path.stat().st_size, None, (training,)))
            continue
        actions, use = len(read_described(path)["label_names"]), (f"skelpipe predict --run {name}", training)
        found.append(PackagedWeights(name, "recognizer", path, path.stat().st_size, actions, use))
    return sorted(found, key=lambda one: one.kind, reverse=True)


def missing_packages(entry: ModelEntry) -> list[str]:
    """Returns the packages that a network needs and that are not installed."""
    if entry.vitpose is not None or entry.family == "onnx":
        return []
    if entry.family in ("mmpose", "mmdet"):
        return mmlab_packages.missing_packages()
    needed = {"openpifpaf": "openpifpaf", "blazepose": "openvino"}[entry.family]
    return [] if importlib.util.find_spec(needed) else [needed]


def _table_row(entry: ModelEntry, cache_dir: Path | None) -> tuple[str, ...]:
    size = f"{entry.input_size[0]}x{entry.input_size[1]}" if entry.input_size else "any"
    precision = f"{entry.ap * 100:.1f}" if entry.ap is not None else "-"
    known, estimated = entry.size, 4 * entry.parameters
    megabytes = f"{known / 1e6:.0f} MB" if known is not None else f"~{estimated / 1e6:.0f} MB"
    here = ("yes" if is_here(entry, cache_dir) else "no") + ("*" if missing_packages(entry) else "")
    return entry.name, size, precision, entry.ap_set or "-", entry.licence, megabytes, here


def _json_row(entry: ModelEntry, cache_dir: Path | None) -> dict[str, Any]:
    path = cached_path(entry, cache_dir)
    source = hub_file(entry, cache_dir)
    return {
        **asdict(entry),
        "revision": None if source is None else source.revision,
        "path": str(path),
        "on_this_machine": is_here(entry, cache_dir),
        "missing_packages": missing_packages(entry),
        "actions": None,
        "use": [f"skelpipe extract --{entry.kind} {entry.name}"],
    }


def _table_of_weights() -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("in the package", "actions", "size", "use"):
        table.add_column(title, no_wrap=title != "use")
    for one in packaged_weights():
        actions = "-" if one.actions is None else str(one.actions)
        table.add_row(one.name, actions, f"{one.size / 1e6:.1f} MB", "\n".join(one.use))
    return table


def _json_row_of_weights(one: PackagedWeights) -> dict[str, Any]:
    """Returns the keys of a network, null where they mean nothing, and those of the weights."""
    of_networks = dict.fromkeys((*(field.name for field in fields(ModelEntry)), "revision"))
    here = {"on_this_machine": True, "missing_packages": [] if has_module("torch") else ["torch"], "aliases": []}
    return {**of_networks, **asdict(one), "path": str(one.path), **here}
