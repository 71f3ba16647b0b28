"""Skeletons of other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.datasets.exporting import Exported
    from pipeline.datasets.importing import Imported


def import_skeletons(
    format_name: str,
    paths: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    labels: str | Path = "auto",
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    joints: str | Sequence[str] | None = None,
    layout: str | None = None,
    skip_bad: bool = False,
    untrimmed: bool = False,
    keep_incomplete: bool = False,
) -> "Imported":
    """Convert skeletons of another program to a skeleton file, as `skelpipe import` does.

    Args:
        format_name: Format, such as "openpose", "coco" or "slp"; `skelpipe import --list` lists them. Or a data set,
            "ntu" or "pkummd".
        paths: One or several files, or folders to search for files of the format.
        out: Skeleton file to write, .pkl, or .parquet for a folder with shards; None for skeletons/FORMAT.pkl.
        labels: "auto" for the names of the folders, "none", or the path of a CSV file.
        fps: Frames per second, above 0, of files that do not state it; None for 30.
        size: (height, width) of the frames in pixels, of files that do not state it; None to derive it from the joints.
        joints: Joints in files that do not name them: a layout, such as "halpe26", or their names in order; None to
            derive the layout from their number.
        layout: Layout to convert the joints to, by name, or "source" for that of the files; None for "coco17", and in
            3D "ntu25" or "h36m17".
        skip_bad: Whether to skip malformed files instead of raising an error.
        untrimmed: "pkummd" only: whether to keep whole videos.
        keep_incomplete: "ntu" only: whether to keep incomplete clips.

    Returns:
        A report: `path` of the skeleton file, `clips` and `labelled`, numbers of clips, `left_out`, errors of skipped
        files, `notes` about what was assumed, and `dropped`: what the skeleton file does not hold, with the number of
        clips that it concerns.

    Raises:
        UsageError: The format is unknown, a path does not exist, no file is of the format, or an option is wrong.
        AnnotationError: A file is malformed; nothing is written.
        BackendError: The format needs a package that is not installed.

    Examples:
        >>> import skelpipe
        >>> folder = skelpipe.export_skeletons("skeletons/actions.pkl", "openpose", "openpose").path
        >>> done = skelpipe.import_skeletons("openpose", folder, "skeletons/back.pkl", fps=30, size=(240, 320))
        >>> done.clips, done.left_out
        (48, ())
    """
    from pipeline.datasets.importing import ImportOptions, import_files

    given = [paths] if isinstance(paths, str | Path) else paths
    return import_files(
        format_name,
        [Path(path) for path in given],
        Path("skeletons") / f"{format_name}.pkl" if out is None else Path(out),
        ImportOptions(
            labels=str(labels),
            fps=fps,
            size=None if size is None else f"{size[1]}x{size[0]}",
            joints=joints if joints is None or isinstance(joints, str) else ",".join(joints),
            layout=layout,
            skip_bad=skip_bad,
            untrimmed=untrimmed,
            keep_incomplete=keep_incomplete,
        ),
    )


def export_skeletons(
    skeletons: str | Path,
    format_name: str,
    out: str | Path,
    *,
    split: str | None = None,
    layout: str | None = None,
) -> "Exported":
    """Convert a skeleton file to the format of another program, as `skelpipe export` does.

    Args:
        skeletons: Skeleton file, .pkl, or folder of a data set in shards, .parquet.
        format_name: Format, such as "openpose", "coco" or "slp"; `skelpipe export --list` lists them.
        out: Folder with one file per clip; or a file with the suffix of the format, for a single clip.
        split: Only the clips of this split; None for all.
        layout: Layout to convert the joints to, by name; None for that of the file, and BODY_25 for "openpose".

    Returns:
        A report: `path`, the folder or file, `clips`, the number of clips, and `dropped`: what the format cannot hold,
        with the number of clips that it concerns.

    Raises:
        UsageError: The format or the layout is unknown, or `out` is a file and there are several clips.
        AnnotationError: The skeleton file is malformed, or the format cannot hold a clip.
        BackendError: The format needs a package that is not installed.

    Examples:
        >>> import skelpipe
        >>> done = skelpipe.export_skeletons("skeletons/one-clip.pkl", "coco", "coco")
        >>> done.clips, sorted(path.name for path in done.path.iterdir())
        (1, ['clip0.json'])
        >>> done.dropped["scores"]
        1
    """
    from pipeline.datasets.exporting import export_file

    return export_file(Path(skeletons), format_name, Path(out), split=split, layout=layout)
