"""`skelpipe sweep`: words into the use case of the same name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.evaluate_command import Backend, BatchSize, Device, Precision, engine_of, refuse_unused
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.pretrain_sweep import SweptEncoders
    from pipeline.sweep import Swept

FAILED = 1
_BATCHES = "set finetune.batch_size or linear.batch_size in the `recipe` of the sweep's config"


def sweep(
    config: Annotated[str, typer.Argument(metavar="SWEEP", help="Such as ablations/table4, or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings of all rows, over the sweep's.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Skeleton pickle.", show_default="newest in skeletons/")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split to test on.", show_default="the one beside that trained on"),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Of the training.", show_default="those of the sweep")
    ] = None,
    jobs: Annotated[
        str, typer.Option(metavar="auto|N", help="Runs at a time; auto: one a GPU, or one a core.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Runs and results.", show_default="sweeps/NAME")
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out malformed clips.", show_default="no")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, and end.", show_default="no")] = False,
) -> None:
    """Train, or pre-train, and measure runs that differ in a few settings, with several seeds, into one table."""
    from rich.console import Console

    from pipeline import pretrain_sweep
    from pipeline import sweep as use_case
    from pipeline.pretrain_sweep_settings import is_pretrain_sweep, read_pretrain_sweep
    from pipeline.settings import read_words
    from pipeline.sweep_settings import read_sweep

    changes, engine = read_words(settings or []), engine_of(device, batch_size, precision, backend)
    common: dict[str, Any] = {
        "seeds": _numbers(seeds),
        "jobs": _jobs(jobs),
        "out": out if out is not None else Path("sweeps") / Path(config).stem,
        "dry_run": dry_run,
        "console": Console(stderr=True),
    }
    result: Swept | SweptEncoders | None
    if is_pretrain_sweep(config):
        refuse_unused(batch_size, backend, instead=_BATCHES)
        encoders, changes = read_pretrain_sweep(config, changes)
        measuring = pretrain_sweep.Measuring(split, engine.device, engine.precision, skip_bad)
        result = pretrain_sweep.sweep_encoders(encoders, data, changes, measuring, **common)
        if result is not None:
            pretrain_sweep.print_encoders(encoders, result, Console())
    else:
        plan = read_sweep(config)
        result = use_case.sweep(plan, data, changes, split=split, engine=engine, skip_bad=skip_bad, **common)
        if result is not None:
            use_case.print_table(plan, result, Console())
    if result is None:
        return
    typer.echo(str(result.out))
    if result.failed:
        for name, reason in result.failed.items():
            typer.echo(f"failed: {name}: {reason}", err=True)
        raise typer.Exit(FAILED)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    if len(numbers) < len(parts) or len(set(numbers)) < len(numbers):
        raise UsageError(f"--seeds {text}: must be different whole numbers with commas between them, such as 0,1,2")
    return numbers


def _jobs(text: str) -> int | None:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"--jobs {text}: must be auto or a whole number from 1 on")
    return None if text == "auto" else int(text)
