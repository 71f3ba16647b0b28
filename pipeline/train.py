"""`skelpipe train`: where settings come from, and what a run would be without running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from pipeline.settings import override, parse, read_config, read_words
from pipeline.train_command import NEWEST
from pose_extraction.errors import UsageError
from recognition import runs
from recognition.preparation import Prepared, prepare
from recognition.resuming import check_same_run
from recognition.schedule import epochs_of
from recognition.settings import RunSettings
from recognition.sizing import Cost, choose_epochs, measure_cost

DEFAULT_CONFIG = "custom"
COMMAND_LINE = "the command line"


def train_settings(words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Settings of a new run.

    Args:
        words: A config, if any, and `key=value` pairs, as the command line has them.
        options: By dotted name; None where an option was not given.

    Raises:
        UsageError: There is no such config, or a setting is unknown or wrong.
    """
    config, pairs = _split(words)
    values = read_config(config or DEFAULT_CONFIG, RunSettings)
    return parse(_changed(values, pairs, options), RunSettings, place=COMMAND_LINE)


def resumed_settings(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Settings of a run that goes on: its own, and what the command line changes.

    Raises:
        UsageError: A config was named, or a setting is unknown or wrong.
        WeightsError: The run cannot be read.
    """
    config, pairs = _split(words)
    if config is not None:
        raise UsageError(f"a run goes on with its own settings, so leave out {config!r}")
    values = runs.load(runs.run_file(run, "last"))["settings"]
    own = {**options, "out": None, "init": None}
    return parse(_changed(values, pairs, own), RunSettings, place=COMMAND_LINE)


def run_to_resume(resume: str, out: Path | None) -> Path:
    """The run directory that `--resume` means.

    Raises:
        UsageError: There is no run.
    """
    if resume != NEWEST:
        path = Path(resume)
        return path.parent if path.is_file() else path
    return out if out is not None else runs.newest_run()


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    configs = [word for word in words if "=" not in word]
    if len(configs) > 1:
        raise UsageError(f"one config at a time: {' or '.join(configs)}; a config can say `extends: OTHER`")
    return (configs[0] if configs else None), [word for word in words if "=" in word]


def _changed(values: Mapping[str, Any], pairs: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    return override(override(values, read_words(pairs), RunSettings), given, RunSettings)


def dry_run(settings: RunSettings, *, resume: Path | None = None, console: Console | None = None) -> None:
    """Prints the resolved settings and what the run would take; trains nothing, writes nothing.

    Raises:
        SkelpipeError: The run would be refused.
    """
    prepared = prepare(settings)
    if resume is not None:
        check_same_run(runs.load(runs.run_file(resume, "last")), prepared, run=str(resume))
    cost = measure_cost(prepared)
    prepared = choose_epochs(prepared, cost)
    console = console or Console()
    console.print(
        yaml.safe_dump(prepared.settings.model_dump(mode="json"), sort_keys=False), highlight=False, markup=False
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts_of(prepared, cost).items():
        table.add_row(name, value)
    console.print(table)


def facts_of(prepared: Prepared, cost: Cost) -> dict[str, str]:
    """What a run would take, in words."""
    phase1, phase2 = epochs_of(prepared.settings.training)
    second = cost.phase2 if prepared.settings.training.objective == "maskclr" else cost.phase1
    seconds = cost.steps * (phase1 * cost.phase1 + phase2 * second)
    return {
        "data": f"{prepared.settings.data.file}, {prepared.layout}, {prepared.num_classes} classes",
        "clips": f"{len(prepared.training)} to train on, {len(prepared.held_out)} held out",
        "parameters": f"{cost.parameters:,}",
        "steps": f"{cost.steps} an epoch, {phase1} + {phase2} epochs",
        "memory": f"{_size(cost.state_bytes)} for weights, gradients and AdamW (computed), and "
        f"{_size(cost.activation_bytes)} that a step of phase two keeps for its gradients (counted in a real one); the "
        "framework's own comes on top",
        "time": f"about {_clock(seconds)} on one {prepared.settings.training.device} (measured: {cost.phase1:.3f} s a "
        f"step of phase one, {cost.phase2:.3f} s of phase two; held-out part not counted)",
    }


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"
