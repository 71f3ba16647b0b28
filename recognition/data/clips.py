"""Skeleton files and data sets in shards as sets of raw clips.

A file is read and checked completely once. Its arrays stay in memory as stored (mostly float16: the 114,000 clips of
NTU120 take 1.1 GB) and are converted to float32 on access. Joints of Kinetics-400 and of shards stay on disk
(`sources`).
"""

import hashlib
import logging
import re
from pathlib import Path

import numpy as np

from pose_extraction.errors import AnnotationError, UsageError, counted
from pose_extraction.formats.annotations import identifier_of
from pose_extraction.formats.clip_arrays import seen_of
from pose_extraction.formats.clip_times import has_unusable_times
from pose_extraction.formats.foreign import read_converted
from pose_extraction.formats.person_clips import with_person_clips
from pose_extraction.formats.shards.manifest import is_shards
from pose_extraction.formats.validation import validate_container
from pose_extraction.skeleton import LAYOUTS, Skeleton, layout_by_shape
from recognition.data.clip import UNKNOWN_RATE, Clip
from recognition.data.clip_checks import names_of_labels, numbers_as_names, usual_shape
from recognition.data.sources.clip_table import UsableSource, table_of
from recognition.data.sources.sharded_clips import open_sharded
from recognition.data.usable_clips import UsableClips
from recognition.settings import DataSettings

log = logging.getLogger(__name__)


class ClipSet:
    """A skeleton file, or a data set in shards.

    Args:
        path: The file or folder.
        source: Its usable clips.
        layout: Joint layout.
        score_threshold: A joint is seen if its score exceeds this, 0 to 1.

    Attributes:
        path: The file.
        names: Ids of the clips, in the file's order.
        labels: int64 (N,), class of each clip; -1 for unlabelled clips.
        groups: Group of each clip; None for a clip without a group.
        splits: Name -> int64 indices of its clips, in ascending order.
        label_names: Class names, in the order of the class numbers.
        layout: Joint layout.
        dimensions: Coordinates per joint, 2 or 3.
        lengths: int64 (N,), frames of each clip.
        seconds: float64 (N,), time from the first to the last frame of each clip.
        estimator: Pose estimator of the skeletons; None if the file does not record it.
        extraction: Settings of the estimator; see `extraction_of`.
        skipped: Sentences about everything that was left out.
        left_out: Clips among these that have a unique id.
        names_given: Whether `label_names` are real names, rather than numbers derived from the labels.
        part_of: For clips of single labelled persons, the id of the clip that each was cut from; else None.
    """

    def __init__(
        self,
        path: Path,
        source: UsableSource,
        layout: Skeleton,
        score_threshold: float,
    ) -> None:
        table = source.table
        self.path = path
        self.names = table.names
        self.labels = table.labels
        self.groups: list[str | None] = table.groups
        self.part_of = table.part_of
        self.splits = source.splits
        self.label_names = source.label_names
        self.layout = layout
        self.dimensions = source.shape[1]
        self.lengths = table.lengths
        self.seconds = table.seconds
        self.estimator = ", ".join(sorted(table.estimators)) or None
        self.extraction = table.extraction
        self.skipped = source.skipped
        self.left_out = tuple(source.left_out)
        self.names_given = source.names_given
        self._table = table
        self._joints = source.joints
        self._digest = source.digest
        self._score_threshold = score_threshold

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """Return a clip by its index in the file.

        Raises:
            AnnotationError: Its joints are stored in a separate file that cannot be read.
        """
        keypoint, score = self._read(index, exact=False)
        name, label = self.names[index], int(self.labels[index])
        table = self._table
        clip = Clip(name, label, keypoint, score, table.sizes[index], table.tracked[index], table.times[index])
        return clip.above(self._score_threshold)

    def stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a clip's joints (M, T, V, D) and scores (M, T, V) in the file's precision.

        Raises:
            AnnotationError: Its joints are stored in a separate file that cannot be read.
        """
        return self._read(index, exact=True)

    def _read(self, index: int, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        keypoint, score = self._joints[index].read(exact=exact)
        return keypoint, seen_of(keypoint).astype(keypoint.dtype) if score is None else score

    def nameless(self) -> list[str]:
        """Return the sentences of `skipped` that do not belong to `left_out`: missing or duplicate ids or clips."""
        named = {clip.reason for clip in self.left_out}
        return [sentence for sentence in self.skipped if sentence not in named]

    def content_digest(self) -> str:
        """Return the SHA-256 of everything that a run reads from the file; a resumed run refuses a different one.

        For joints in separate files, it covers the content of the annotation.
        """
        digest = hashlib.sha256(repr((self.names, self.labels.tolist(), self.label_names)).encode())
        digest.update(repr({name: indices.tolist() for name, indices in sorted(self.splits.items())}).encode())
        digest.update(repr((self.groups, self._table.sizes, self._table.tracked)).encode())
        if self._digest is not None:
            digest.update(self._digest)
            return digest.hexdigest()
        for joints in self._joints:
            for array in joints.digest_parts():
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def open_clips(
    path: Path, settings: DataSettings, *, leave_out_empty: bool = False, cut_persons: bool = True
) -> ClipSet:
    """Read and check a skeleton file.

    Args:
        path: A file of `skelpipe extract` or of PYSKL, or the folder of a data set in shards.
        settings: `layout`, `score_threshold`, `keypoint_files`, `group_pattern` and `skip_bad` are used.
        leave_out_empty: Whether to leave out clips without persons even without `skip_bad`.
        cut_persons: Whether each labelled person of a clip becomes a clip; see `with_person_clips`.

    Raises:
        AnnotationError: The file or one of its clips is malformed; the message names file, clip and remedy. With
            `skip_bad`, malformed clips are left out and listed in `skipped`.
        UsageError: `layout` or `group_pattern` is invalid.
    """
    if settings.layout not in ("auto", *LAYOUTS):
        raise UsageError(f"data.layout={settings.layout!r} is unknown; choose one of {', '.join(LAYOUTS)} and auto")
    if is_shards(path):
        source = open_sharded(path, settings, leave_out_empty=leave_out_empty, cut_persons=cut_persons)
    else:
        source = _open_file(path, settings, leave_out_empty=leave_out_empty, cut_persons=cut_persons)
    clips = ClipSet(path, source, _layout_of_file(settings.layout, source.shape, path), settings.score_threshold)
    if settings.group_pattern is not None:
        clips.groups = _groups_by(settings.group_pattern, clips)
    return clips


def _open_file(path: Path, settings: DataSettings, *, leave_out_empty: bool, cut_persons: bool) -> UsableSource:
    """Read and check a skeleton file; see `open_clips`."""
    data = read_converted(path)
    validate_container(data, path)
    label_names = names_of_labels(data, path)
    ignored: list[str] = []
    if cut_persons:
        data, ignored = with_person_clips(data, path, skip_bad=settings.skip_bad)
    shape = usual_shape(data["annotations"])
    # Before the clips are checked, which takes minutes for a large file.
    _layout_of_file(settings.layout, shape, path)
    usable = UsableClips(path, settings, shape, len(label_names), leave_out_empty)
    for position, annotation in enumerate(data["annotations"]):
        usable.add(annotation, position)
    if not usable.joints:
        reason = f"; the first: {usable.skipped[0]}" if usable.skipped else ", because it is empty: extract some videos"
        raise AnnotationError(f"{path}: contains no usable clips{reason}")
    _warn_of_times(usable, path)
    return UsableSource(
        table_of(usable.annotations, usable.joints, shape[1]),
        usable.joints,
        usable.splits(data["split"]),
        label_names,
        shape,
        list(dict.fromkeys([*ignored, *usable.skipped])),
        usable.left_out(data["split"]),
        names_given=bool(data.get("label_names")) or label_names != numbers_as_names(len(label_names)),
    )


def _warn_of_times(usable: UsableClips, path: Path) -> None:
    wrong = [
        identifier_of(annotation)
        for annotation, joints in zip(usable.annotations, usable.joints, strict=True)
        if has_unusable_times(annotation, joints.num_frames)
    ]
    if wrong:
        log.warning(
            "%s: %d clips have no usable times (the first: %r), so %g frames/s are assumed; 'time' must contain one "
            "finite time in seconds per frame, in ascending order, or 'fps' a number above 0",
            path,
            len(wrong),
            wrong[0],
            UNKNOWN_RATE,
        )


def _layout_of_file(name: str, shape: tuple[int, int], path: Path) -> Skeleton:
    """Return the layout with a name; "auto" derives it from the number of joints and coordinates."""
    if name == "auto":
        return layout_by_shape(*shape)
    layout = LAYOUTS[name]
    if layout.num_joints != shape[0]:
        raise AnnotationError(
            f"{path}: its clips have {shape[0]} joints, but {name} has {layout.num_joints}; set data.layout to the "
            "file's layout, or to auto"
        )
    return layout


def _groups_by(pattern: str, clips: ClipSet) -> list[str | None]:
    """Return the match of the pattern's first group in each clip's id."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"data.group_pattern={pattern!r} is not a valid regular expression ({error})") from error
    if compiled.groups < 1:
        raise UsageError(f"data.group_pattern={pattern!r} has no group; put the part that names the group in (...)")
    found = [compiled.search(name) for name in clips.names]
    if not any(found):
        raise UsageError(
            f"data.group_pattern={pattern!r} matches none of the ids of {clips.path}, such as {clips.names[0]!r}"
        )
    return [match[1] if match else None for match in found]


def nameless_note(clips: ClipSet) -> str:
    """Return a note with the number of unusable entries in a file and the reason for the first one."""
    sentences = clips.nameless()
    skipped = counted(len(sentences), "entry of the file is", "entries of the file are")
    return f"{skipped} skipped; the first: {sentences[0]}"
