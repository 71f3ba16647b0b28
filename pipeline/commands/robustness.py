"""`skelpipe robustness`: passes the options to `pipeline.robustness.workflow`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cluster.options import LOCAL, cluster_options
from pipeline.commands.help_pages import CONDITIONS, INPUT, OUTPUT
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
    engine_of,
)
from pipeline.commands.sharing.runs import method_and_run
from pose_extraction.engines.torch_extra import require_torch


def robustness(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|METHOD=RUN...",
            help="Run directories or files of weights. Runs of one METHOD, trained with different seeds, are pooled; "
            "the first method is compared with the others.",
            rich_help_panel=INPUT,
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Skeleton file; repeatable, for other estimators.",
            show_default="that of the first run",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: TestSplit = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the report and its data.", rich_help_panel=OUTPUT)
    ] = Path("robustness"),
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAMILY",
            help="Family of perturbations; also `estimators` (clips from other files) and `targeted` (masking by "
            "attention); repeatable.",
            show_default="all",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, metavar="N", help="Random draws per perturbation.", rich_help_panel=CONDITIONS)
    ] = 3,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Random seed of the first draw.", rich_help_panel=CONDITIONS)
    ] = 0,
    steps: Annotated[
        int,
        typer.Option(
            min=2, metavar="N", help="Steps of the deletion and insertion curves.", rich_help_panel=CONDITIONS
        ),
    ] = 20,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of clips, spread evenly over the split.",
            show_default="all",
            rich_help_panel=INPUT,
        ),
    ] = None,
    noise_space: Annotated[
        str,
        typer.Option(
            metavar="camera|model",
            help="Add noise to the frames or to the network input.",
            rich_help_panel=CONDITIONS,
        ),
    ] = "camera",
    occluded: Annotated[
        str,
        typer.Option(
            metavar="cells|joints",
            help="Occlude joints per frame, or in all frames.",
            rich_help_panel=CONDITIONS,
        ),
    ] = "cells",
    shifted: Annotated[
        str,
        typer.Option(
            metavar="frame|constant",
            help="Shift joints per frame, or by a constant.",
            rich_help_panel=CONDITIONS,
        ),
    ] = "frame",
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Clip whose attention is shown.",
            show_default="first with persons",
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
    figures: Annotated[
        bool,
        typer.Option("--figures/--no-figures", help="Draw figures.", show_default="yes", rich_help_panel=OUTPUT),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and its duration, then exit.", show_default="no", rich_help_panel=OUTPUT
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all numbers as JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Compare runs under noise, occlusion, other estimators and pipeline artefacts."""
    require_torch("skelpipe robustness")
    from rich.console import Console

    from pipeline.config import parse
    from pipeline.robustness.usage import check_usage
    from recognition.robustness.conditions import BenchSettings

    values = {
        "repeats": repeats,
        "seed": seed,
        "steps": steps,
        "limit": limit,
        "noise_space": noise_space,
        "occluded": occluded,
        "shifted": shifted,
        "families": tuple(only or ()),
    }
    bench_settings = parse(values, BenchSettings, place=None)
    network = engine_of(device, batch_size, precision, backend)
    cluster = cluster_options(context.params)
    runs = [method_and_run(word) for word in runs]
    check_usage(runs, data or [], bench_settings.families)
    # Only now, because it loads torch.
    from pipeline.robustness import workflow as use_case

    results = use_case.robustness(
        runs,
        data or [],
        split,
        settings=bench_settings,
        engine=network,
        out=out,
        clip=clip,
        skip_bad=skip_bad,
        figures=figures,
        dry_run=dry_run,
        console=Console(stderr=True),
        cluster=cluster,
    )
    if results is None:
        return
    if as_json:
        from pipeline.reporting.tables import as_json as json_text

        typer.echo(json_text(results.summary), nl=False)
    else:
        from pipeline.robustness.report import PAGE, print_table

        print_table(results, Console())
        typer.echo(str(out / PAGE))
