"""The `skelpipe` command, and functions for programs that were written before the package `skelpipe` existed.

    from pipeline import extract_videos, predict_actions, read_skeletons

    report = extract_videos("videos/", estimator="vitpose", smooth=True)
    clips = read_skeletons(report.data_set)["annotations"]

    for answer in predict_actions("clip.mp4", run="runs/mine"):
        print(answer.clip, answer.label, answer.probability)

New programs use `import skelpipe`. Heavy libraries are imported only when one of these functions is called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.predict.python_api import predict as predict_actions

if TYPE_CHECKING:
    from pipeline.extract.workflow import Report

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


def read_skeletons(path: str | Path) -> dict[str, Any]:
    """Reads a data set: {"split": {name: [frame_dir]}, "annotations": [...], "label_names": [...]}.

    Args:
        path: The skeleton file.

    Raises:
        AnnotationError: The file is damaged, contains code (which is not run) or is not a skeleton data set.
    """
    from pose_extraction.formats.validation import read_data_set

    return read_data_set(Path(path))
