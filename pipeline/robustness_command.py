"""`skelpipe robustness`: words into the use case of the same name."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.evaluate_command import Backend, BatchSize, Device, Precision, engine_of


def robustness(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|METHOD=RUN...",
            help="Run directories, or .pt files. Runs of one METHOD, trained with different seeds, count together; the "
            "first method is held against the others.",
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Skeleton pickle; given again, one of the same clips by another estimator.",
            show_default="that of the first run",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split to test on.", show_default="the one beside that trained on"),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the report and of what it was made of.")
    ] = Path("robustness"),
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAMILY",
            help="Damage of this family, or `estimators`, the clips as other files have them, or `targeted`, masking "
            "by attention; may be given again.",
            show_default="all",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each damage is drawn.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the first draw.")] = 0,
    steps: Annotated[int, typer.Option(min=2, help="Steps of deletion and insertion curves.")] = 20,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Clips at most, evenly over the split: for a look.", show_default="all")
    ] = None,
    noise_space: Annotated[
        str, typer.Option(metavar="camera|model", help="Noise on the clip's own frames, or on the network's input.")
    ] = "camera",
    occluded: Annotated[
        str,
        typer.Option(metavar="cells|joints", help="Joint occlusion takes joints of single frames, or whole joints."),
    ] = "cells",
    shifted: Annotated[
        str, typer.Option(metavar="frame|constant", help="A shifted joint moves in every frame, or keeps its place.")
    ] = "frame",
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Clip whose attention is shown.", show_default="the first in which all see somebody"
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out malformed clips.", show_default="no")] = False,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures beside the numbers.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell the plan and the time that it takes, and end.", show_default="no")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.", show_default="no")] = False,
) -> None:
    """Measure runs side by side under noise, occlusion, other estimators and damage that pipelines do."""
    from rich.console import Console

    from pipeline import robustness as use_case
    from pipeline.settings import parse
    from recognition.robustness_conditions import BenchSettings

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
    results = use_case.robustness(
        runs,
        data or [],
        split,
        settings=parse(values, BenchSettings, place="the command line"),
        engine=engine_of(device, batch_size, precision, backend),
        out=out,
        clip=clip,
        skip_bad=skip_bad,
        figures=figures,
        dry_run=dry_run,
        console=Console(stderr=True),
    )
    if results is None:
        return
    if as_json:
        from pipeline import robustness_results

        typer.echo(robustness_results.as_json(results.summary), nl=False)
    else:
        from pipeline.robustness_report import PAGE, print_table

        print_table(results, Console())
        typer.echo(str(out / PAGE))
