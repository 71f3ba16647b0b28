"""`skelpipe export`: clips of a skeleton file become files of another program."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.exchange.clips import PoseClip
from pose_extraction.exchange.dropping import NO_PERSONS, unplaced_joints
from pose_extraction.exchange.names import JOINTS, has_other_joints, with_joints
from pose_extraction.exchange.skeletons import clip_of
from pose_extraction.exchange.table import DEPTH, FORMATS, Format, dropped_from, files_for, format_named
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

    All clips are checked before the first one is written.

    Args:
        skeletons: The skeleton file, or shards.
        name: Name of the format.
        out: A file with the suffix of the format, for a single clip; else a folder, with one file per clip.
        split: Only the clips of this split; None for all.
        layout: Name of the layout to convert the joints to; None for that of the file, and BODY_25 for OpenPose.

    Raises:
        UsageError: The format or the layout is unknown, or `out` is a file and there are several clips.
        AnnotationError: The file is malformed, the format cannot hold a clip, or two clips would have the same file.
        BackendError: The format needs a package that is not installed.
    """
    target = format_named(name, to_write=True)
    layout = layout or _USUAL_LAYOUT.get(name)
    if layout is not None and layout not in JOINTS:
        raise UsageError(f"--layout {layout}: must be one of {', '.join(JOINTS)}")
    export = _Export(skeletons, name, target, layout, out, is_file=out.suffix.lower() in target.suffixes)
    _check(export, split)
    assert target.write is not None
    dropped: Counter[str] = Counter()
    clips = 0
    for annotation in _annotations(skeletons, split):
        clips += 1
        clip, file, has_others = export.prepared(annotation)
        if not files_for(clip, file, target):
            dropped[NO_PERSONS] += 1
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        target.write(clip, file)
        if layout is not None:
            dropped[unplaced_joints(layout)] += has_others
        dropped.update(dropped_from(annotation, clip, target))
    return Exported(out, clips, dict(+dropped))


@dataclass(frozen=True)
class _Export:
    """What to export, and how.

    Args:
        skeletons: The skeleton file.
        name: Name of the format.
        target: The format.
        layout: Name of the layout to convert to; None for that of the file.
        out: File or folder.
        is_file: Whether it is a file.
    """

    skeletons: Path
    name: str
    target: Format
    layout: str | None
    out: Path
    is_file: bool

    def place(self, annotation: Mapping[str, Any]) -> str:
        """Name a clip in messages."""
        return f"{self.skeletons}: clip {annotation['frame_dir']!r}"

    def prepared(self, annotation: Mapping[str, Any]) -> tuple[PoseClip, Path, bool]:
        """Return the clip to write, its path, and whether it has had joints that the layout lacks.

        Raises:
            AnnotationError: The format cannot hold the clip, or its id leads out of the folder.
        """
        place = self.place(annotation)
        clip, has_others = clip_of(annotation, place), False
        if self.layout is not None:
            has_others = has_other_joints(clip, JOINTS[self.layout])
            clip = with_joints(clip, JOINTS[self.layout], place)
        if clip.keypoint.shape[3] == 3 and DEPTH in self.target.lacks:
            able = ", ".join(one for one, found in FORMATS.items() if found.write and DEPTH not in found.lacks)
            raise AnnotationError(f"{place}: is in 3D, which {self.name} cannot hold; use one of {able}")
        if self.is_file:
            return clip, self.out, has_others
        return clip, self.out / _file_of(annotation["frame_dir"], self.target, place), has_others


def _annotations(skeletons: Path, split: str | None) -> Iterator[dict[str, Any]]:
    """Yield the clips of a split; of all if it is None."""
    annotations, splits = stream_data_set(skeletons)
    if split is not None and split not in splits:
        raise UsageError(f"--split {split}: {skeletons} has the splits {', '.join(sorted(splits))}")
    names = None if split is None else set(splits[split])
    yield from (one for one in annotations if names is None or one["frame_dir"] in names)


def _check(export: _Export, split: str | None) -> None:
    """Refuse what cannot be exported before the first file is written.

    Raises:
        UsageError: There is no such split, or the output is a file and there are several clips.
        AnnotationError: The file is malformed, the format cannot hold a clip, or two clips would have the same file.
    """
    owners: dict[Path, str] = {}
    clips = 0
    for annotation in _annotations(export.skeletons, split):
        clips += 1
        if export.is_file and clips > 1:
            continue
        clip, path, _ = export.prepared(annotation)
        files = files_for(clip, path, export.target)
        if export.is_file and not files:
            raise AnnotationError(f"{export.place(annotation)}: has no persons, so there is nothing to write")
        for file in files:
            if file in owners:
                raise AnnotationError(
                    f"{export.place(annotation)}: would be written to {file}, as would clip {owners[file]!r}; rename "
                    "one of them"
                )
            owners[file] = annotation["frame_dir"]
    if export.is_file and clips != 1:
        raise UsageError(f"--out {export.out}: is one file, but there are {clips} clips; give a folder")


def _file_of(frame_dir: str, target: Format, place: str) -> Path:
    """Return the path of a clip's file below the output folder.

    Raises:
        AnnotationError: The id of the clip leads out of the folder.
    """
    path = PurePosixPath(frame_dir)
    if path.is_absolute() or ".." in path.parts or "\0" in frame_dir or not path.parts:
        raise AnnotationError(f"{place}: its id leads out of the output folder; rename the clip")
    return Path(path.with_name(path.name + (target.suffixes[0] if target.suffixes else "")))
