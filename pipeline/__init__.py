"""The `skelpipe` command, and the same in Python.

    from pipeline import extract_videos, predict_actions, read_skeletons

    report = extract_videos("videos/", estimator="vitpose", smooth=True)
    clips = read_skeletons(report.data_set)["annotations"]

    for answer in predict_actions("clip.mp4", run="runs/mine"):
        print(answer.clip, answer.label, answer.probability)

Nothing heavy is imported until one of these functions is called.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.answers import Answer
    from pipeline.extract import Report

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
        videos: A file, folder or pattern, or several.
        out: Folder of results: `out/<estimator>/<clip>.pkl`, and `out/<estimator>.pkl` with all of them.
        labels: "auto", "none" or the path of a CSV file.
        overwrite: Does again what is done.
        settings: The command's other options by name, with "_" for "-": `estimator="hrnet"`, `detect_every=1`; see
            `pipeline.settings.ExtractSettings`.

    Returns:
        What was done: `data_set` is the path of the merged data set, `failed` says why by video.

    Raises:
        UsageError: A setting is unknown or out of range, or there is no video.
        SkelpipeError: A network cannot be loaded, or results cannot be written.
    """
    from pipeline.extract import Share, extract
    from pipeline.settings import parse_settings

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
    """Tells the actions in videos, skeleton files, a camera or a stream, as `skelpipe predict` does.

    Args:
        clips: A video, folder, pattern or skeleton file, or several; or a camera's number, or an address.
        run: Run directory, or one of its .pt files; None for the newest below runs/.
        estimator: Name or ONNX file; None for the one that the run was trained on.
        detector: The same, of persons.
        per_person: True for each tracked person, False for all together; None: together, but per person in windows.
        windows: Seconds of sliding windows, whose equal neighbours become segments; None for one answer a clip.
        threshold: Least probability of an answer; below it is "unknown".
        overlay: Video to write, with skeletons, ids and actions; a folder for several videos.
        explain: Whether answers tell how much each joint counted; figures go beside the overlay, or to predictions/.
        device: "auto", "cpu" or "cuda:N", of all networks.

    Yields:
        Answers, each as soon as it is certain: `label`, `probability`, `best` (five actions with their probabilities),
        `person`, `start` and `end` in seconds, and `reason` where nothing can be said.

    Raises:
        UsageError: There is no run, nothing to answer for, or what was asked for contradicts itself or the run.
        SkelpipeError: A run, a network, a skeleton file or a stream cannot be read.
    """
    from rich.console import Console

    from pipeline.evaluate import Engine
    from pipeline.predict import predict, scope_of
    from pipeline.predict_networks import Networks
    from pipeline.predict_video import Wanted

    drawn = Path(overlay) if overlay is not None else None
    scope = scope_of(per_person=per_person, windows=windows, overlay=drawn, explain=explain, threshold=threshold)
    yield from predict(
        [clips] if isinstance(clips, str | Path) else list(clips),
        Path(run) if run is not None else None,
        Wanted(scope, windows, drawn),
        networks=Networks(*(None if name is None else str(name) for name in (estimator, detector))),
        engine=Engine(device),
        console=Console(stderr=True),
    )


def read_skeletons(path: str | Path) -> dict[str, Any]:
    """Reads a data set: {"split": {name: [frame_dir]}, "annotations": [...], "label_names": [...]}.

    Raises:
        AnnotationError: The file is damaged, carries code (which is not run) or is no skeleton data set.
    """
    from pose_extraction.annotations import read_data_set

    return read_data_set(Path(path))
