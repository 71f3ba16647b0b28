"""`skelpipe sweep`: words into the use case of the same name."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.evaluate_command import Backend, BatchSize, Device, Precision, engine_of
from pose_extraction.errors import UsageError

FAILED = 1


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
    """Train and measure runs that differ in a few settings, with several seeds, into one table."""
    from rich.console import Console

    from pipeline import sweep as use_case
    from pipeline.settings import read_words
    from pipeline.sweep_settings import read_sweep

    plan = read_sweep(config)
    result = use_case.sweep(
        plan,
        data,
        read_words(settings or []),
        split=split,
        seeds=_numbers(seeds),
        jobs=_jobs(jobs),
        out=out if out is not None else Path("sweeps") / Path(config).stem,
        engine=engine_of(device, batch_size, precision, backend),
        skip_bad=skip_bad,
        dry_run=dry_run,
        console=Console(stderr=True),
    )
    if result is None:
        return
    use_case.print_table(plan, result, Console())
    typer.echo(str(result.out))
    if result.failed:
        for name, reason in result.failed.items():
            typer.echo(f"failed: {name}: {reason}", err=True)
        raise typer.Exit(FAILED)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(f"--seeds {text}: must be different whole numbers with commas between them, such as 0,1,2")
    return [int(part) for part in parts]


def _jobs(text: str) -> int | None:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"--jobs {text}: must be auto or a whole number from 1 on")
    return None if text == "auto" else int(text)
