"""`skelpipe evaluate`: words into the use case of the same name; and the words that it shares with `predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.evaluate import Engine

Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda:0", help="Where the network runs.")]
BatchSize = Annotated[str, typer.Option(metavar="auto|N", help="Clips at once; auto: 16 on a processor, 128 on a GPU.")]
Precision = Annotated[
    str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Auto is bf16 where the processor or GPU has it.")
]
KeypointFiles = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Kinetics-400's keypoint files.", show_default="those of the run"),
]
Backend = Annotated[str, typer.Option(metavar="auto|torch|openvino|onnxruntime", help="What runs the network.")]

_BATCHES = "--set finetune.batch_size, linear.batch_size or motion.batch_size"


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run directory, or a .pt file.", show_default="newest run")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Skeleton pickle.", show_default="that of the run")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split to evaluate; all: every clip.",
            show_default="the one beside that trained on, such as xsub_val",
        ),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out malformed clips, and say how many.", show_default="no")
    ] = False,
    keypoint_files: KeypointFiles = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures beside the numbers.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default="no")] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure a pre-trained encoder: linear, finetune, semi:10%, transfer, knn, occlusion:spatial, "
            "occlusion:temporal, detection, motion.",
            show_default="none",
        ),
    ] = None,
    fuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="With --protocol: average with this encoder too; may be repeated."),
    ] = None,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="With --protocol: fresh weights, to compare with.", show_default="no")
    ] = False,
    train_split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --protocol: train on this split.", show_default="as pre-trained"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --protocol: a setting, such as linear.epochs=50."),
    ] = None,
) -> None:
    """Measure how good a run is: accuracies, confusions, figures."""
    from rich.console import Console

    if protocol is not None:
        from pipeline import protocols
        from recognition.runs import newest_run

        refuse_unused(batch_size, backend, instead=_BATCHES)
        if not figures:
            raise UsageError("--no-figures: protocols draw none; leave it out")
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
            raise UsageError(f"{name} is for pre-trained encoders; name a --protocol with it")
    from pipeline import evaluate as use_case

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
        typer.echo(json.dumps(use_case.as_dictionary(result), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        use_case.print_table(result, Console())
        typer.echo(str(result.folder))


def refuse_unused(batch_size: str, backend: str, *, instead: str) -> None:
    """Refuses options that no protocol has.

    Args:
        batch_size: As the command line has it.
        backend: Likewise.
        instead: How the command at hand sets a protocol's batches, for the message.

    Raises:
        UsageError: One is given.
    """
    if batch_size != "auto":
        raise UsageError(
            f"--batch-size {batch_size}: protocols train with batches of their own; leave it out, or {instead}"
        )
    if backend not in ("auto", "torch"):
        raise UsageError(f"--backend {backend}: protocols run on torch; leave it out")


def engine_of(device: str, batch_size: str, precision: str, backend: str) -> "Engine":
    """How a network is run, of the words for it.

    Raises:
        UsageError: A word is none of those that there are.
    """
    from pipeline.evaluate import Engine
    from pose_extraction.backends import BACKENDS, PRECISIONS

    for name, value, known in (("--precision", precision, PRECISIONS), ("--backend", backend, BACKENDS)):
        if value not in known:
            raise UsageError(f"{name} {value}: there are {', '.join(known)}")
    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size) > 0):
        raise UsageError(f"--batch-size {batch_size}: must be auto or a whole number from 1 on")
    return Engine(device, None if batch_size == "auto" else int(batch_size), precision, backend)
