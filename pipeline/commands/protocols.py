"""The options of `skelpipe evaluate` for pre-trained encoders, and what it does with --protocol."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.help_pages import PRETRAINED
from pipeline.commands.options import refuse_unused
from pipeline.protocols.request import ProtocolRequest
from pose_extraction.errors import UsageError

ProtocolName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Evaluation protocol: linear, finetune, semi:10%, transfer, knn, occlusion:spatial, "
        "occlusion:temporal, detection, motion.",
        show_default="none",
        rich_help_panel=PRETRAINED,
    ),
]

Fuse = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN",
        help="With --protocol: average with this encoder; repeatable.",
        show_default="none",
        rich_help_panel=PRETRAINED,
    ),
]

Scratch = Annotated[
    bool,
    typer.Option(
        "--scratch",
        help="With --protocol: random weights, as a baseline.",
        show_default="no",
        rich_help_panel=PRETRAINED,
    ),
]

TrainSplit = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --protocol: training split; all: every clip.",
        show_default="as pre-trained",
        rich_help_panel=PRETRAINED,
    ),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="With --protocol: a setting (linear.epochs=50); repeatable.",
        show_default="none",
        rich_help_panel=PRETRAINED,
    ),
]

_BATCH_SIZES = "--set finetune.batch_size, linear.batch_size or motion.batch_size"


def refuse_protocol_options(**given: object) -> None:
    """Refuse options that require --protocol.

    Args:
        given: Values of the options `fuse`, `scratch`, `train_split` and `settings`.

    Raises:
        UsageError: One of the options is given.
    """
    for name, value in given.items():
        if value:
            option = "--set" if name == "settings" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} applies to pre-trained encoders only; add --protocol")


def refuse_recognizer_options(batch_size: str, backend: str, call: list[str] | None, *, figures: bool) -> None:
    """Refuse options that have no effect with --protocol.

    Args:
        batch_size: Value of --batch-size.
        backend: Value of --backend.
        call: Values of --call.
        figures: Whether figures are wanted, which is the default.

    Raises:
        UsageError: One of the options is given.
    """
    refuse_unused(batch_size, backend, instead=_BATCH_SIZES)
    if call:
        raise UsageError(
            f"--call {call[0]}: has no effect with --protocol, which trains on the classes of the file; leave it out"
        )
    if not figures:
        raise UsageError("--no-figures: has no effect with --protocol; leave it out")


def evaluate_protocol(request: ProtocolRequest, *, as_json: bool) -> None:
    """Evaluate encoders with a protocol and print the results.

    Args:
        request: The encoders, the protocol and the clips.
        as_json: Whether to print JSON instead of a table.

    Raises:
        SkelpipeError: See `pipeline.protocols.workflow.run_protocol`.
    """
    from rich.console import Console

    from pipeline.protocols.usage import check_request

    check_request(request)
    # Only now, because it loads torch.
    from pipeline.protocols.table import print_protocol
    from pipeline.protocols.workflow import run_protocol

    result = run_protocol(request, console=Console(stderr=True))
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        print_protocol(result, Console())
        typer.echo(result["folder"])
