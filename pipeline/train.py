"""`skelpipe train`: where settings come from, and what a run would be without running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from pipeline.settings import changed, parse, read_config, split_words
from pipeline.train_command import NEWEST
from pose_extraction.errors import UsageError
from recognition import runs
from recognition.initialising import initialise
from recognition.preparation import Prepared, prepare
from recognition.resuming import check_same_run, settings_before
from recognition.schedule import epochs_of
from recognition.settings import RunSettings
from recognition.sizing import Cost, Size, choose_epochs, measure_cost, recognizer_of, size_of

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
    config, pairs = split_words(words)
    values = read_config(config or DEFAULT_CONFIG, RunSettings)
    return parse(changed(values, pairs, options, RunSettings), RunSettings, place=COMMAND_LINE)


def resumed_settings(run: Path, words: Sequence[str], options: Mapping[str, Any]) -> RunSettings:
    """Settings of a run that goes on: its own, and what the command line changes.

    Raises:
        UsageError: A config was named, or a setting is unknown or wrong.
        WeightsError: The run cannot be read.
    """
    config, pairs = split_words(words)
    if config is not None:
        raise UsageError(f"a run goes on with its own settings, so leave out {config!r}")
    if options.get("init") is not None or any(pair.startswith(("init=", "out=")) for pair in pairs):
        raise UsageError(
            f"{run}: a run that goes on has weights and a directory already; leave out --init and out, or begin a new "
            "run without --resume"
        )
    values = runs.load(runs.run_file(run, "last"))["settings"]
    return parse(changed(values, pairs, {**options, "out": None}, RunSettings), RunSettings, place=COMMAND_LINE)


def run_to_resume(resume: str, out: Path | None) -> Path:
    """The run directory that `--resume` means.

    Raises:
        UsageError: There is no run.
    """
    if resume != NEWEST:
        path = Path(resume)
        if out is not None:
            raise UsageError(f"a run goes on in its own directory: give --resume {resume}, or --out {out}, not both")
        return path.parent if path.is_file() else path
    return out if out is not None else runs.newest_run()


def dry_run(settings: RunSettings, *, resume: Path | None = None, console: Console | None = None) -> None:
    """Prints the resolved settings and what the run would take; trains nothing, writes nothing.

    Raises:
        SkelpipeError: The run would be refused.
    """
    checkpoint = runs.load(runs.run_file(resume, "last")) if resume is not None else None
    prepared = prepare(settings, begun=settings_before(checkpoint))
    notes = list(prepared.notes)
    if checkpoint is not None:
        check_same_run(checkpoint, prepared, run=str(resume))
    else:
        runs.refuse_begun(Path(prepared.settings.out))
        if prepared.settings.init is not None:
            clips, init = prepared.clips, prepared.settings.init
            taken = initialise(
                recognizer_of(prepared), init, label_names=clips.label_names, dimensions=clips.dimensions
            )
            notes.append(taken)
    cost = measure_cost(prepared)
    prepared = choose_epochs(prepared, cost)
    console = console or Console()
    console.print(
        yaml.safe_dump(prepared.settings.model_dump(mode="json"), sort_keys=False), highlight=False, markup=False
    )
    _print(console, facts_of(prepared, size_of(prepared)))
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    _print(console, costs_of(prepared, cost))


def _print(console: Console, facts: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(f"{name:10}", value)
    console.print(table)


def facts_of(prepared: Prepared, size: Size) -> dict[str, str]:
    """What is known of a run before its first step, in words."""
    return {
        "data": f"{prepared.settings.data.file}, {prepared.layout}, {prepared.num_classes} classes",
        "clips": f"{len(prepared.training)} to train on, {len(prepared.held_out)} held out",
        "parameters": f"{size.parameters:,}; {_size(size.state_bytes)} for weights, gradients and AdamW (computed)",
    }


def costs_of(prepared: Prepared, cost: Cost) -> dict[str, str]:
    """What a run would take, measured, in words."""
    training = prepared.settings.training
    phase1, phase2 = epochs_of(prepared.settings.training)
    second = cost.phase2 if training.objective == "maskclr" else cost.phase1
    seconds = cost.steps * (phase1 * cost.phase1 + phase2 * second)
    device = training.device.partition(",")[0]
    scaled = (
        "" if cost.clips == cost.micro_batch else f", scaled to {cost.micro_batch} from steps of {cost.clips} clips"
    )
    return {
        "epochs": f"phase1_epochs: {phase1}, phase2_epochs: {phase2}, of {cost.steps} steps each",
        "memory": f"{_size(cost.activation_bytes)} that a step of phase two keeps for its gradients (counted in real "
        f"ones{scaled}); the framework's own comes on top",
        "time": f"about {_clock(seconds)} on {device} alone (measured: {cost.phase1:.3f} s a "
        f"step of phase one, {cost.phase2:.3f} s of phase two{scaled}; held-out part not counted), and less where "
        "several devices share the batch",
    }


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"
