"""`skelpipe export`: clips of a skeleton file become files of another program."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.exchange.dropping import unplaced_joints
from pose_extraction.exchange.names import JOINTS, has_other_joints, with_joints
from pose_extraction.exchange.skeletons import clip_of
from pose_extraction.exchange.table import DEPTH, FORMATS, Format, dropped_from, format_named
from pose_extraction.formats.storage import stream_data_set
from pose_extraction.skeleton import OPENPOSE25

# Layouts of formats whose joints have no names, unless the user chooses another one.
_USUAL_LAYOUT = {"openpose": OPENPOSE25.name}


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Args:
        path: File, or folder of files.
        clips: Number of clips.
        dropped: Number of clips by what the format cannot hold of them.
    """

    path: Path
    clips: int
    dropped: dict[str, int]


def export_file(
    skeletons: Path, name: str, out: Path, *, split: str | None = None, layout: str | None = None
) -> Exported:
    """Write the clips of a skeleton file in the format of another program.

    Args:
        skeletons: The skeleton file, or shards.
        name: Name of the format.
        out: A file with the suffix of the format, for a single clip; else a folder, with one file per clip.
        split: Only the clips of this split; None for all.
        layout: Name of the layout to convert the joints to; None for that of the file, and BODY_25 for OpenPose.

    Raises:
        UsageError: The format or the layout is unknown, or `out` is a file and there are several clips.
        AnnotationError: The file is malformed, or the format cannot hold a clip.
        BackendError: The format needs a package that is not installed.
    """
    target = format_named(name, to_write=True)
    layout = layout or _USUAL_LAYOUT.get(name)
    if layout is not None and layout not in JOINTS:
        raise UsageError(f"--layout {layout}: must be one of {', '.join(JOINTS)}")
    annotations, splits = stream_data_set(skeletons)
    if split is not None and split not in splits:
        raise UsageError(f"--split {split}: {skeletons} has the splits {', '.join(sorted(splits))}")
    names = None if split is None else set(splits[split])
    chosen: Iterator[dict[str, Any]] = (one for one in annotations if names is None or one["frame_dir"] in names)
    is_file = out.suffix.lower() in target.suffixes
    if is_file:
        chosen = iter(listed := list(chosen))
        if len(listed) != 1:
            raise UsageError(f"--out {out}: is one file, but there are {len(listed)} clips; give a folder")
    dropped: Counter[str] = Counter()
    clips = 0
    for annotation in chosen:
        clips += 1
        place = f"{skeletons}: clip {annotation['frame_dir']!r}"
        clip = clip_of(annotation, place)
        if layout is not None:
            dropped[unplaced_joints(layout)] += has_other_joints(clip, JOINTS[layout])
            clip = with_joints(clip, JOINTS[layout], place)
        if clip.keypoint.shape[3] == 3 and DEPTH in target.lacks:
            able = ", ".join(one for one, found in FORMATS.items() if found.write and DEPTH not in found.lacks)
            raise AnnotationError(f"{place}: is in 3D, which {name} cannot hold; use one of {able}")
        file = out if is_file else out / _file_of(annotation["frame_dir"], target, place)
        file.parent.mkdir(parents=True, exist_ok=True)
        assert target.write is not None
        target.write(clip, file)
        dropped.update(dropped_from(annotation, clip, target))
    return Exported(out, clips, dict(+dropped))


def _file_of(frame_dir: str, target: Format, place: str) -> Path:
    """Return the path of a clip's file below the output folder.

    Raises:
        AnnotationError: The id of the clip leads out of the folder.
    """
    path = PurePosixPath(frame_dir)
    if path.is_absolute() or ".." in path.parts or "\0" in frame_dir or not path.parts:
        raise AnnotationError(f"{place}: its id leads out of the output folder; rename the clip")
    return Path(path.with_name(path.name + (target.suffixes[0] if target.suffixes else "")))
