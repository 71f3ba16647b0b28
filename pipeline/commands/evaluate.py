"""`skelpipe evaluate`: passes the options to `pipeline.evaluate.workflow`; also defines options that commands share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT, PRETRAINED
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    pass
from pipeline.commands.options import Backend, BatchSize, Device, KeypointFiles, Precision, engine_of, refuse_unused

_BATCHES = "--set finetune.batch_size, linear.batch_size or motion.batch_size"


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Run directory, or a .pt file.", show_default="newest run", rich_help_panel=INPUT
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Skeleton file.", show_default="that of the run", rich_help_panel=INPUT),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split to evaluate; all: every clip.",
            show_default="the matching test split",
            rich_help_panel=INPUT,
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip malformed clips and count them.", show_default="no", rich_help_panel=INPUT
        ),
    ] = False,
    keypoint_files: KeypointFiles = None,
    figures: Annotated[
        bool,
        typer.Option("--figures/--no-figures", help="Draw figures.", show_default="yes", rich_help_panel=OUTPUT),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Evaluation protocol: linear, finetune, semi:10%, transfer, knn, occlusion:spatial, "
            "occlusion:temporal, detection, motion.",
            show_default="none",
            rich_help_panel=PRETRAINED,
        ),
    ] = None,
    fuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="With --protocol: average with this encoder; repeatable.",
            show_default="none",
            rich_help_panel=PRETRAINED,
        ),
    ] = None,
    scratch: Annotated[
        bool,
        typer.Option(
            "--scratch",
            help="With --protocol: random weights, as a baseline.",
            show_default="no",
            rich_help_panel=PRETRAINED,
        ),
    ] = False,
    train_split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --protocol: training split.",
            show_default="as pre-trained",
            rich_help_panel=PRETRAINED,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="With --protocol: a setting (linear.epochs=50); repeatable.",
            show_default="none",
            rich_help_panel=PRETRAINED,
        ),
    ] = None,
) -> None:
    """Evaluate a run: accuracies, confusion matrix and figures."""
    from rich.console import Console

    if protocol is not None:
        from pipeline.protocols import workflow as protocols
        from recognition.runs import newest_run

        refuse_unused(batch_size, backend, instead=_BATCHES)
        if not figures:
            raise UsageError("--no-figures: has no effect with --protocol; leave it out")
        found = protocols.run_protocol(
            protocol,
            [run if run is not None else newest_run(), *(fuse or [])],
            data,
            split,
            train_split=train_split,
            pairs=settings or [],
            scratch=scratch,
            skip_bad=skip_bad,
            keypoint_files=keypoint_files,
            device=device,
            precision=precision,
            console=Console(stderr=True),
        )
        if as_json:
            typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        else:
            protocols.print_protocol(found, Console())
            typer.echo(found["folder"])
        return
    for name, value in (("--fuse", fuse), ("--scratch", scratch), ("--train-split", train_split), ("--set", settings)):
        if value:
            raise UsageError(f"{name} applies to pre-trained encoders only; add --protocol")
    from pipeline.evaluate import workflow as use_case
    from pipeline.evaluate.report import as_dictionary, print_table

    result = use_case.evaluate(
        run,
        data,
        split,
        engine=engine_of(device, batch_size, precision, backend),
        skip_bad=skip_bad,
        keypoint_files=keypoint_files,
        figures=figures,
        console=Console(stderr=True),
    )
    if as_json:
        typer.echo(json.dumps(as_dictionary(result), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_table(result, Console())
        typer.echo(str(result.folder))
