"""Options, option parsing and exit codes that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.help_pages import CLUSTER, INPUT, NETWORKS, SPEED
from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pose_extraction.engines.engine import Engine


TILES_HELP = "Search tiles of the frame for small persons (blazepose); auto: where nobody is found."


Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda:0", help="Device of the network.", rich_help_panel=SPEED)]


BatchSize = Annotated[
    str,
    typer.Option(metavar="auto|N", help="Clips per batch; auto: CPU 16, GPU 128.", rich_help_panel=SPEED),
]


Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16|fp16", help="Compute precision; auto: bf16 if supported.", rich_help_panel=SPEED
    ),
]


KeypointFiles = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keypoint files of Kinetics-400.",
        show_default="those of the run",
        rich_help_panel=INPUT,
    ),
]


Backend = Annotated[
    str, typer.Option(metavar="NAME", help="auto, torch, openvino or onnxruntime.", rich_help_panel=SPEED)
]


TestSplit = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Test split; all: every clip.",
        show_default="the matching test split",
        rich_help_panel=INPUT,
    ),
]


SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Skip malformed clips and count them.", show_default="no", rich_help_panel=INPUT),
]


# Where a run knows the networks of its training.
RunEstimator = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.onnx", help="Pose estimator.", show_default="as in training", rich_help_panel=NETWORKS
    ),
]


RunDetector = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.onnx", help="Person detector.", show_default="as in training", rich_help_panel=NETWORKS
    ),
]


RunDetectionThreshold = Annotated[
    str | None,
    typer.Option(
        metavar="auto|SCORE",
        help="Minimum box score; auto: per detector.",
        show_default="as in training",
        rich_help_panel=NETWORKS,
    ),
]


RunTiles = Annotated[
    str | None,
    typer.Option(metavar="auto|always|never", help=TILES_HELP, show_default="as in training", rich_help_panel=NETWORKS),
]


Checkpoint = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Estimator weights; seed:N: random.",
        show_default="official",
        rich_help_panel=NETWORKS,
    ),
]


DetectorCheckpoint = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Detector weights; seed:N: random.",
        show_default="official",
        rich_help_panel=NETWORKS,
    ),
]


Fps = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Frames per second of raw streams and folders of images.",
        show_default="stream header; images 30",
        rich_help_panel=INPUT,
    ),
]


Stream = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of the video stream, from 0, in files with several.",
        show_default="as marked in the file",
        rich_help_panel=INPUT,
    ),
]


ClusterEngine = Annotated[
    str,
    typer.Option(metavar="local|ray", help="Run on this machine, or on a Ray cluster.", rich_help_panel=CLUSTER),
]


Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto|local",
        help="Head node of the cluster; local: a new cluster on this machine.",
        show_default="RAY_ADDRESS, else this machine",
        rich_help_panel=CLUSTER,
    ),
]


Actors = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of actors, each with its own networks.",
        show_default="as many as fit",
        rich_help_panel=CLUSTER,
    ),
]


ActorCpus = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Cores of each actor.",
        show_default="up to 4, with a GPU up to 8",
        rich_help_panel=CLUSTER,
    ),
]


ActorMemory = Annotated[
    float | None,
    typer.Option(metavar="GIB", help="Memory that each actor declares.", show_default="3", rich_help_panel=CLUSTER),
]


def refuse_unused(batch_size: str, backend: str, *, instead: str) -> None:
    """Refuses options that do not apply to protocols.

    Args:
        batch_size: Value of --batch-size.
        backend: Value of --backend.
        instead: How to set the batch sizes of a protocol, for the error message.

    Raises:
        UsageError: One of the options is given.
    """
    if batch_size != "auto":
        raise UsageError(f"--batch-size {batch_size}: has no effect on protocols; leave it out, or {instead}")
    if backend not in ("auto", "torch"):
        raise UsageError(f"--backend {backend}: protocols run on torch only; leave it out")


def engine_of(device: str, batch_size: str, precision: str, backend: str) -> "Engine":
    """Parses the options that decide how a network runs.

    Args:
        device: "auto", "cpu" or "cuda:N".
        batch_size: "auto" or a positive integer.
        precision: One of `pose_extraction.engines.engine.PRECISIONS`.
        backend: One of `pose_extraction.engines.engine.BACKENDS`.

    Raises:
        UsageError: A value is not allowed.
    """
    from pose_extraction.engines.engine import parse_engine

    return parse_engine(device, backend, precision, auto_or_count("--batch-size", batch_size))


def auto_or_count(option: str, text: str) -> int | None:
    """Parses the value of an option that is "auto" or a positive integer.

    Args:
        option: Name of the option, for the error message.
        text: Its value.

    Returns:
        The number; None for "auto".

    Raises:
        UsageError: The value is neither.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise UsageError(f"{option} {text}: must be auto or a positive integer")
    return int(text)
