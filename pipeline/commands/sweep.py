"""`skelpipe sweep`: passes the options to `pipeline.sweep.recognizers` or `pipeline.sweep.encoders`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cluster.options import LOCAL, cluster_options
from pipeline.commands.help_pages import INPUT, OUTPUT, SETTINGS, SPEED
from pipeline.commands.options import (
    ActorCpus,
    ActorMemory,
    Actors,
    Address,
    Backend,
    BatchSize,
    ClusterEngine,
    Device,
    Precision,
    SkipBad,
    TestSplit,
    auto_or_count,
    engine_of,
    refuse_unused,
)
from pipeline.exit_codes import FAILED
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import UsageError

_BATCHES = "set finetune.batch_size or linear.batch_size in the `recipe` of the sweep's config"


def sweep(
    context: typer.Context,
    config: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="Sweep config: a name, such as ablations/table4, or a file.", rich_help_panel=SETTINGS
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings for all rows; they override the sweep's.",
            show_default="none",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Skeleton file.",
            show_default="newest in skeletons/",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: TestSplit = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="0,1,2", help="Random seeds.", show_default="those of the sweep", rich_help_panel=SETTINGS
        ),
    ] = None,
    jobs: Annotated[
        str,
        typer.Option(metavar="auto|N", help="Parallel runs; auto: one per GPU or CPU core.", rich_help_panel=SPEED),
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of runs and results.",
            show_default="sweeps/NAME",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: SkipBad = False,
    engine: ClusterEngine = LOCAL,
    address: Address = None,
    actors: Actors = None,
    actor_cpus: ActorCpus = None,
    actor_memory: ActorMemory = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the runs, then exit.", show_default="no", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Train (or pre-train) and evaluate runs with varied settings and several seeds, and tabulate the results."""
    require_torch("skelpipe sweep")
    from rich.console import Console

    from pipeline.config import read_words
    from pipeline.sweep.encoder_plan import is_pretrain_sweep, pretrain_settings_of, read_pretrain_sweep
    from pipeline.sweep.plan import SweepRequest
    from pipeline.sweep.recognizer_plan import read_sweep, settings_of
    from pipeline.train.settings import check_files

    evaluation = engine_of(device, batch_size, precision, backend)
    cluster = cluster_options(context.params)
    if cluster is not None and jobs != "auto":
        raise UsageError(f"--jobs {jobs}: has no effect with --engine ray; give --actors")
    request = SweepRequest(
        out if out is not None else Path("sweeps") / Path(config).stem,
        Console(stderr=True),
        data,
        read_words(settings or []),
        split,
        _numbers(seeds),
        auto_or_count("--jobs", jobs),
        skip_bad,
        dry_run,
        cluster,
        device,
    )
    if is_pretrain_sweep(config):
        refuse_unused(batch_size, backend, instead=_BATCHES)
        encoders, changes = read_pretrain_sweep(config, request.changes)
        request = dataclasses.replace(request, changes=changes)
        for row in encoders.rows:
            check_files(pretrain_settings_of(encoders, row, request.settings_of_all_rows(), place=encoders.title))
        # Only now, because it loads torch.
        from pipeline.sweep.encoders import sweep_encoders

        result = sweep_encoders(encoders, request, device=evaluation.device, precision=evaluation.precision)
    else:
        plan = read_sweep(config)
        for line in plan.rows:
            check_files(settings_of(plan, line, request.settings_of_all_rows(), place=plan.title))
        # Only now, because it loads torch.
        from pipeline.sweep.recognizers import sweep as sweep_recognizers

        result = sweep_recognizers(plan, request, evaluation)
    if result is None:
        return
    from pipeline.sweep.workflow import print_table

    print_table(result, Console())
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
        raise UsageError(f"--seeds {text}: must be distinct integers separated by commas, such as 0,1,2")
    return numbers
