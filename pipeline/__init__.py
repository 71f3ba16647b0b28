"""The `skelpipe` command, and the same in Python.

    from pipeline import extract_videos, read_skeletons

    report = extract_videos("videos/", estimator="vitpose", smooth=True)
    clips = read_skeletons(report.data_set)["annotations"]

Nothing heavy is imported until one of these functions is called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.extract import Report

__all__ = ["extract_videos", "read_skeletons"]


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


def read_skeletons(path: str | Path) -> dict[str, Any]:
    """Reads a data set: {"split": {name: [frame_dir]}, "annotations": [...], "label_names": [...]}.

    Raises:
        AnnotationError: The file is damaged, carries code (which is not run) or is no skeleton data set.
    """
    from pose_extraction.annotations import read_data_set

    return read_data_set(Path(path))
