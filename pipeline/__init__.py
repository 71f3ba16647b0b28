"""The `skelpipe` command, and functions for programs that were written before the package `skelpipe` existed.

    from pipeline import extract_videos, predict_actions, read_skeletons

    report = extract_videos("videos/", estimator="vitpose", smooth=True)
    clips = read_skeletons(report.data_set)["annotations"]

    for answer in predict_actions("clip.mp4", run="runs/mine"):
        print(answer.clip, answer.label, answer.probability)

New programs use `import skelpipe`. Heavy libraries are imported only when one of these functions is called.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.extract.workflow import Report
    from pipeline.predict.answers import Answer

__all__ = ["extract_videos", "predict_actions", "read_skeletons"]


def extract_videos(
    videos: str | Path | Sequence[str | Path],
    out: str | Path = "skeletons",
    *,
    labels: str | Path = "auto",
    overwrite: bool = False,
    **settings: Any,
) -> "Report":
    """Extracts tracked, cleaned COCO-17 skeletons from videos, as `skelpipe extract` does.

    Args:
        videos: One or several files, folders or glob patterns.
        out: Output folder: `out/<estimator>/<clip>.pkl`, and `out/<estimator>.pkl` with all clips.
        labels: "auto", "none" or the path of a CSV file.
        overwrite: Whether to replace existing results.
        settings: Other options of the command, with "_" for "-": `estimator="hrnet"`, `detect_every=1`; see
            `pipeline.extract.settings.ExtractSettings`.

    Returns:
        A report: `data_set` is the path of the merged data set, `failed` maps videos to error messages.

    Raises:
        UsageError: A setting is unknown or out of range, or there is no video.
        SkelpipeError: A network cannot be loaded, or results cannot be written.
    """
    from pipeline.extract.settings import parse_settings
    from pipeline.extract.workflow import Share, extract

    chosen = [videos] if isinstance(videos, str | Path) else list(videos)
    checked = parse_settings(settings, place="extract_videos")
    return extract(chosen, Path(out), settings=checked, labels=str(labels), share=Share(overwrite=overwrite))


def predict_actions(
    clips: str | Path | Sequence[str | Path],
    run: str | Path | None = None,
    *,
    estimator: str | Path | None = None,
    detector: str | Path | None = None,
    per_person: bool | None = None,
    windows: float | None = None,
    threshold: float = 0.0,
    overlay: str | Path | None = None,
    explain: bool = False,
    device: str = "auto",
) -> "Iterator[Answer]":
    """Predicts the actions in videos, skeleton files, a camera or a stream, as `skelpipe predict` does.

    Args:
        clips: One or several videos, folders, glob patterns or skeleton files; or a camera number, or a stream address.
        run: Run directory, or one of its .pt files; None for the newest run in runs/.
        estimator: Name or ONNX file of the pose estimator; None for the one of the training data.
        detector: Name or ONNX file of the person detector; None for the one of the training data.
        per_person: True for one prediction per tracked person, False for all persons together; None for all together,
            or per person if `windows` is given.
        windows: Length of sliding windows in seconds; equal neighbours are merged. None for one prediction per clip.
        threshold: Minimum probability, from 0 to 1; below it the label is "unknown".
        overlay: Video to write, with skeletons, ids and actions; a folder for several videos.
        explain: Whether to compute the influence of each joint; figures are written next to the overlay, or to
            predictions/.
        device: Device of all networks: "auto", "cpu" or "cuda:N".

    Yields:
        Predictions, as soon as each is available: `label`, `probability`, `best` (the top-5 actions with their
        probabilities), `person`, `start` and `end` in seconds, and `reason` if there is no prediction.

    Raises:
        UsageError: There is no run or no input, or the options contradict each other or the run.
        SkelpipeError: A run, a network, a skeleton file or a stream cannot be read.
    """
    from rich.console import Console

    from pipeline.predict.options import Networks, PredictOptions, scope_of
    from pipeline.predict.workflow import predict
    from pose_extraction.engines.engine import Engine

    drawn = Path(overlay) if overlay is not None else None
    scope = scope_of(per_person=per_person, windows=windows, overlay=drawn, explain=explain, threshold=threshold)
    yield from predict(
        [clips] if isinstance(clips, str | Path) else list(clips),
        Path(run) if run is not None else None,
        PredictOptions(scope, windows, drawn),
        networks=Networks(*(None if name is None else str(name) for name in (estimator, detector))),
        engine=Engine(device),
        console=Console(stderr=True),
    )


def read_skeletons(path: str | Path) -> dict[str, Any]:
    """Reads a data set: {"split": {name: [frame_dir]}, "annotations": [...], "label_names": [...]}.

    Args:
        path: The skeleton file.

    Raises:
        AnnotationError: The file is damaged, contains code (which is not run) or is not a skeleton data set.
    """
    from pose_extraction.formats.validation import read_data_set

    return read_data_set(Path(path))
