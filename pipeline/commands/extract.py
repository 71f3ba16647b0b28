"""`skelpipe extract`: command-line options into settings, and the call of `pipeline.extract.workflow`."""

from typing import Annotated, Any

import typer

from pipeline.cluster.options import cluster_options
from pipeline.commands.help_pages import CLUSTER, INPUT, NETWORKS, OTHER, OUTPUT, SPEED, TRACKING
from pipeline.commands.options import (
    TILES_HELP,
    ActorCpus,
    ActorMemory,
    Actors,
    Address,
    Backend,
    Checkpoint,
    ClusterEngine,
    DetectorCheckpoint,
    Fps,
    Stream,
)
from pipeline.exit_codes import FAILED
from pipeline.extract import defaults


def _use_config(context: typer.Context, name: str | None) -> str | None:
    """Makes the values of a config the defaults of the other options; options on the command line override them."""
    if name is not None:
        from pipeline.config import read_config
        from pipeline.extract.settings import ExtractSettings

        context.default_map = {**(context.default_map or {}), **read_config(name, ExtractSettings)}
    return name


def extract(
    context: typer.Context,
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO|FOLDER|GLOB|URL...",
            help="Videos; a folder of images counts as one video.",
            rich_help_panel=INPUT,
        ),
    ],
    estimator: Annotated[
        str,
        typer.Option(metavar="NAME|FILE.onnx", help="Pose estimator; see `skelpipe models`.", rich_help_panel=NETWORKS),
    ] = defaults.ESTIMATOR,
    detector: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|FILE.onnx",
            help="Person detector; see `skelpipe models`. auto: rtmdet, for rtmpose a yolox.",
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.DETECTOR,
    out: Annotated[str, typer.Option(metavar="FOLDER|URL", help="Output folder.", rich_help_panel=OUTPUT)] = str(
        defaults.OUT
    ),
    labels: Annotated[
        str,
        typer.Option(
            metavar="auto|none|FILE.csv",
            help="Labels. auto: NTU file names, else the parent folder. Columns of the CSV: file, label, and "
            "optionally split, group, start, end, track, anchor_time, anchor_box.",
            rich_help_panel=INPUT,
        ),
    ] = defaults.LABELS,
    checkpoint: Checkpoint = None,
    detector_checkpoint: DetectorCheckpoint = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda:0,1", help="Devices; several GPUs share the videos.", rich_help_panel=SPEED
        ),
    ] = defaults.DEVICE,
    backend: Backend = defaults.BACKEND,
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|fp32|bf16|fp16",
            help="Precision; auto: bf16 if supported, detectors fp32.",
            rich_help_panel=SPEED,
        ),
    ] = defaults.PRECISION,
    batch_size: Annotated[
        str,
        typer.Option(metavar="auto|N", help="Persons (openpifpaf: frames) per batch.", rich_help_panel=SPEED),
    ] = defaults.BATCH_SIZE,
    detect_every: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Detect in every N-th frame; auto: every 0.1 s.",
            rich_help_panel=SPEED,
        ),
    ] = defaults.DETECT_EVERY,
    detection_threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|SCORE",
            help="Minimum box score; auto: per detector.",
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.DETECTION_THRESHOLD,
    square_input: Annotated[
        bool,
        typer.Option(
            "--square-input/--oblong-input",
            help="Shape of the detector's input.",
            show_default="oblong",
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.SQUARE_INPUT,
    flip_test: Annotated[
        bool,
        typer.Option(
            "--flip-test/--no-flip-test",
            help="Average with the mirrored image; half as fast.",
            show_default="no",
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.FLIP_TEST,
    tiles: Annotated[
        str,
        typer.Option(
            metavar="auto|always|never",
            help=TILES_HELP,
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.TILES,
    builder: Annotated[
        str,
        typer.Option(
            metavar="auto|mmpose",
            help="Code that runs ViTPose: this project's own, or mmpose's.",
            rich_help_panel=NETWORKS,
        ),
    ] = defaults.BUILDER,
    max_persons: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of persons per clip, most relevant first.",
            rich_help_panel=TRACKING,
        ),
    ] = defaults.MAX_PERSONS,
    persons: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Expected persons per frame, for the statistics.",
            show_default="unknown",
            rich_help_panel=TRACKING,
        ),
    ] = None,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth/--no-smooth",
            help="Smooth the tracks (Savitzky-Golay).",
            show_default="no",
            rich_help_panel=TRACKING,
        ),
    ] = defaults.SMOOTH,
    stride: Annotated[
        int, typer.Option(min=1, metavar="N", help="Use every N-th frame.", rich_help_panel=INPUT)
    ] = defaults.STRIDE,
    start: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Start time within each video.", show_default="beginning", rich_help_panel=INPUT
        ),
    ] = None,
    end: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="End time within each video.", show_default="end", rich_help_panel=INPUT),
    ] = None,
    fps: Fps = None,
    stream: Stream = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay",
            help="Write a video with the skeletons drawn on it.",
            show_default="no",
            rich_help_panel=OUTPUT,
        ),
    ] = defaults.OVERLAY,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N|auto",
            help="Process only the I-th of N shares; auto: the task of a Slurm array.",
            show_default="all",
            rich_help_panel=INPUT,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Maximum number of videos.", show_default="all", rich_help_panel=INPUT),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing results.", show_default="no", rich_help_panel=OUTPUT),
    ] = False,
    chunk: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Extract longer videos in pieces of this length, which several devices share and a killed run keeps.",
            show_default="whole videos",
            rich_help_panel=SPEED,
        ),
    ] = defaults.CHUNK,
    decoder: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda",
            help="What decodes videos; cuda: the GPU, where it gives the same frames.",
            rich_help_panel=SPEED,
        ),
    ] = defaults.DECODER,
    workers: Annotated[
        str,
        typer.Option(metavar="auto|N", help="Videos decoded in parallel per device.", rich_help_panel=SPEED),
    ] = defaults.WORKERS,
    engine: ClusterEngine = defaults.ENGINE,
    address: Address = None,
    actors: Actors = None,
    actor_cpus: ActorCpus = None,
    actor_memory: ActorMemory = None,
    stall_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time without progress after which a video counts as hanging.",
            show_default="300 s and its duration",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Port for Prometheus during the run.",
            show_default="none",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.yaml",
            is_eager=True,
            callback=_use_config,
            help="Defaults for these options, such as extract/accurate.",
            show_default="none",
            rich_help_panel=OTHER,
        ),
    ] = None,
) -> None:
    """Extract tracked, cleaned COCO-17 skeletons from videos."""
    from rich.console import Console

    from pipeline.extract.settings import ExtractSettings, parse_settings
    from pipeline.extract.share import Share, parse_shard
    from pipeline.extract.workflow import extract as extract_videos

    given: dict[str, Any] = {name: context.params[name] for name in ExtractSettings.model_fields}
    settings = parse_settings(given, place=None)
    cluster = cluster_options(context.params)
    console = Console(stderr=True)
    report = extract_videos(
        videos,
        out,
        settings=settings,
        labels=labels,
        share=Share(parse_shard(shard) if shard is not None else None, limit, overwrite),
        console=console,
        cluster=cluster,
    )
    rate = f", {report.frames_per_second:.1f} frames/s" if report.done else ""
    console.print(f"{report.done} extracted, {report.skipped} already done, {len(report.failed)} failed{rate}")
    typer.echo(report.url or str(report.data_set or report.folder))
    if report.failed:
        raise typer.Exit(FAILED)
