"""Extraction of skeletons from videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from pipeline.extract.workflow import Report
    from pose_extraction.engines.engine import Backend, Precision


class ExtractOptions(TypedDict, total=False):
    """Less common options of `skelpipe.extract`, which are passed as keyword arguments.

    Attributes:
        checkpoint: Weights of the estimator instead of the official ones; "seed:N" for random weights.
        detector_checkpoint: The same for the detector.
        batch_size: Persons per batch, or frames for OpenPifPaf.
        detection_threshold: Minimum score of a person box, in (0, 1); "auto" uses the detector's default.
        square_input: Whether the input of the detector is square.
        flip_test: Whether to average with the mirrored image, which takes twice the time.
        tiles: "always", "never" or "auto": whether BlazePose searches tiles of the frame for small persons.
        builder: "mmpose" runs ViTPose with mmpose's code instead of this project's own.
        persons: Expected number of persons per frame, for the statistics.
        stride: Use every N-th frame.
        start: Start time in each video in seconds.
        end: End time in each video in seconds.
        fps: Frames per second of raw streams and folders of images.
        stream: Number of the video stream, counted from 0; by default the one marked as default in the file.
        decoder: "cpu", or "cuda" to decode on the GPU where it gives the same frames.
        workers: Videos decoded in parallel per device.
        chunk: Length in seconds of the pieces in which long videos are processed; None for whole videos.
        engine: "local" for this machine, or "ray" for a Ray cluster.
        address: `HOST:PORT` of the head node of the cluster; "local" for a new cluster on this machine. By default,
            the variable RAY_ADDRESS, else a cluster that runs on this machine, else a new one.
        actors: Number of actors of the cluster; by default, as many as fit.
        actor_cpus: Cores of each actor.
        actor_memory: Memory that each actor declares, in GiB.
        stall_timeout: Seconds without progress after which a video counts as hanging.
        metrics_port: Port on which measurements for Prometheus are served during the run.
    """

    checkpoint: str | None
    detector_checkpoint: str | None
    batch_size: Literal["auto"] | int
    detection_threshold: Literal["auto"] | float
    square_input: bool
    flip_test: bool
    tiles: Literal["auto", "always", "never"]
    builder: Literal["auto", "mmpose"]
    persons: int | None
    stride: int
    start: float | None
    end: float | None
    fps: float | None
    stream: int | None
    decoder: Literal["cpu", "cuda"]
    workers: Literal["auto"] | int
    chunk: float | None
    engine: Literal["local", "ray"]
    address: str | None
    actors: int | None
    actor_cpus: int | None
    actor_memory: float
    stall_timeout: float | None
    metrics_port: int | None


def extract(
    videos: str | Path | Sequence[str | Path],
    out: str | Path = "skeletons",
    *,
    labels: str | Path = "auto",
    overwrite: bool = False,
    estimator: str | Path = "vitpose",
    detector: str | Path = "auto",
    device: str = "auto",
    backend: "Backend" = "auto",
    precision: "Precision" = "auto",
    detect_every: Literal["auto"] | int = "auto",
    max_persons: int = 10,
    smooth: bool = False,
    overlay: bool = False,
    **more: Unpack[ExtractOptions],
) -> "Report":
    """Extract tracked, cleaned COCO-17 skeletons from videos, as `skelpipe extract` does.

    Results that are up to date are not extracted again, so an interrupted call can be repeated. Progress goes to
    standard error.

    Args:
        videos: One or several videos, folders or glob patterns, or their URLs; a folder of images counts as one video.
        out: Output folder or its URL: `out/<estimator>/<clip>.pkl`, and `out/<estimator>.pkl` with all clips.
        labels: "auto" for NTU file names or the names of the folders, "none", or the path of a CSV file.
        overwrite: Whether to replace existing results.
        estimator: Pose estimator: a name listed by `skelpipe models`, or the path of an ONNX file.
        detector: Person detector: a name, or the path of an ONNX file; "auto" is the one that suits the
            estimator: "rtmdet" or, for RTMPose, a YOLOX. Ignored by estimators that need none.
        device: "auto", "cpu", "cuda:N", or several GPUs, "cuda:0,1", which share the videos. On a Ray cluster "auto",
            "cpu" or "cuda".
        backend: "auto", "torch", "openvino" or "onnxruntime"; the library that runs the networks.
        precision: Compute precision: "auto", "fp32", "bf16" or "fp16"; "auto" uses bf16 where the processor supports
            it, and fp32 for detectors.
        detect_every: Detect persons in every N-th frame; "auto" for every 0.1 s.
        max_persons: Maximum number of persons per clip; the most relevant ones are kept.
        smooth: Whether to smooth the tracks (Savitzky-Golay).
        overlay: Whether to write a video with the skeletons next to each result.
        more: Further options; see `ExtractOptions`.

    Returns:
        A report: `data_set` is the path of the merged data set, `done` and `skipped` are numbers of videos, and
        `failed` maps paths of videos to error messages.

    Raises:
        UsageError: An option is unknown or out of range, or there is no video.
        BackendError: Ray is not installed, or there is no cluster.
        SkelpipeError: A network cannot be loaded, or results cannot be written.

    Examples:
        >>> import skelpipe
        >>> report = skelpipe.extract("videos", estimator="hrnet-tiny", detector="rtmdet-nano-rendered")
        >>> report.done, report.failed
        (1, {})
        >>> report.data_set.name
        'hrnet-tiny.pkl'
    """
    from pipeline.cluster.options import CLUSTER_NAMES, cluster_options
    from pipeline.extract.settings import parse_settings
    from pipeline.extract.workflow import Share
    from pipeline.extract.workflow import extract as extract_videos

    options: dict[str, Any] = dict(more)
    cluster = cluster_options({"engine": "local", **options})
    settings = parse_settings(
        {
            "estimator": str(estimator),
            "detector": str(detector),
            "device": device,
            "backend": backend,
            "precision": precision,
            "detect_every": detect_every,
            "max_persons": max_persons,
            "smooth": smooth,
            "overlay": overlay,
            **{name: value for name, value in options.items() if name not in CLUSTER_NAMES},
        },
        place="skelpipe.extract",
    )
    chosen = [videos] if isinstance(videos, str | Path) else list(videos)
    share = Share(overwrite=overwrite)
    return extract_videos(chosen, out, settings=settings, labels=str(labels), share=share, cluster=cluster)
