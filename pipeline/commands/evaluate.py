"""`skelpipe evaluate`: passes the options to `pipeline.evaluate.workflow` or, with --protocol, to the protocols."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import INPUT, OUTPUT
from pipeline.commands.options import Backend, BatchSize, Device, KeypointFiles, Precision, SkipBad, engine_of
from pipeline.commands.protocols import (
    Fuse,
    ProtocolName,
    Scratch,
    Settings,
    TrainSplit,
    evaluate_protocol,
    refuse_protocol_options,
    refuse_recognizer_options,
)
from pipeline.commands.sharing.runs import run_path
from pipeline.protocols.request import ProtocolRequest
from pose_extraction.engines.torch_extra import require_torch


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Run directory, file of weights, or hf://OWNER/NAME.",
            show_default="newest run",
            rich_help_panel=INPUT,
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
    call: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="What the run calls a class of the file; repeatable, and several may get one name.",
            show_default="same names",
            rich_help_panel=INPUT,
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: SkipBad = False,
    keypoint_files: KeypointFiles = None,
    figures: Annotated[
        bool,
        typer.Option("--figures/--no-figures", help="Draw figures.", show_default="yes", rich_help_panel=OUTPUT),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON.", show_default="no", rich_help_panel=OUTPUT)
    ] = False,
    protocol: ProtocolName = None,
    fuse: Fuse = None,
    scratch: Scratch = False,
    train_split: TrainSplit = None,
    settings: Settings = None,
) -> None:
    """Evaluate a run: accuracies, confusion matrix and figures."""
    require_torch("skelpipe evaluate")
    path = run_path(run)
    if protocol is not None:
        refuse_recognizer_options(batch_size, backend, call, figures=figures)
        request = ProtocolRequest(
            protocol=protocol,
            run=path,
            fuse=fuse or (),
            data=data,
            split=split,
            train_split=train_split,
            pairs=settings or (),
            scratch=scratch,
            skip_bad=skip_bad,
            keypoint_files=keypoint_files,
            device=device,
            precision=precision,
        )
        evaluate_protocol(request, as_json=as_json)
        return
    refuse_protocol_options(fuse=fuse, scratch=scratch, train_split=train_split, settings=settings)
    from rich.console import Console

    from pose_extraction.formats.pickles import check_readable
    from recognition.data.class_names import names_of
    from recognition.run_names import newest_run
    from recognition.runs import run_file

    engine = engine_of(device, batch_size, precision, backend)
    names = names_of("--call", call or ())
    # A directory or file of a run as it was given, because later messages show it.
    path = path if path is not None else newest_run()
    run_file(path)
    if data is not None:
        check_readable(data)
    # Only now, because these load torch.
    from pipeline.evaluate import workflow as use_case
    from pipeline.evaluate.report import as_dictionary, print_table

    result = use_case.evaluate(
        path,
        data,
        split,
        engine=engine,
        skip_bad=skip_bad,
        keypoint_files=keypoint_files,
        call=names,
        figures=figures,
        console=Console(stderr=True),
    )
    if as_json:
        typer.echo(json.dumps(as_dictionary(result), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_table(result, Console())
        typer.echo(str(result.folder))
