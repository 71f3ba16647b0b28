"""Clips of a data set in shards: an index in memory as arrays, joints and times read for each clip on demand.

Shards hold what the checks of a skeleton file find out, so opening them reads no joints. Only clips that look unusable
are read, for the same messages as from a skeleton file.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.label_numbers import UNLABELLED
from pose_extraction.formats.person_clips import ARRAYS_OF_PERSONS, PART_OF, PART_PLACE, with_person_clips
from pose_extraction.formats.shards.plain import from_text
from pose_extraction.formats.shards.shard_set import ShardSet
from recognition.data.clip import UNKNOWN_RATE
from recognition.data.extraction_settings import extraction_of
from recognition.data.sources.clip_table import ClipTable, Joined, UsableSource, table_of
from recognition.data.sources.stored_joints import Joints, PartJoints
from recognition.data.usable_clips import UsableClips
from recognition.settings import DataSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ShardJoints:
    """Joints of one clip in a shard."""

    shards: ShardSet
    index: int

    @property
    def num_frames(self) -> int:
        return int(self.shards.shapes[self.index, 1])

    def read(self, *, exact: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        return self.shards.joints(self.index, exact=exact)

    def digest_parts(self) -> Sequence[np.ndarray]:
        return [array for array in self.read() if array is not None]


class _AllJoints(Sequence[Joints]):
    """Joints of the clips with given indices."""

    def __init__(self, shards: ShardSet, indices: np.ndarray) -> None:
        self._shards, self._indices = shards, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Joints:  # type: ignore[override]
        return _ShardJoints(self._shards, int(self._indices[place]))


class _Times(Sequence[np.ndarray | None]):
    """Times of the frames of the clips with given indices."""

    def __init__(self, shards: ShardSet, indices: np.ndarray, rates: np.ndarray) -> None:
        self._shards, self._indices, self._rates = shards, indices, rates

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> np.ndarray | None:  # type: ignore[override]
        index = int(self._indices[place])
        frames = int(self._shards.shapes[index, 1])
        time = self._shards.time(index)
        if time.shape == (frames,) and np.isfinite(time).all() and (np.diff(time) > 0).all():
            return time
        rate = self._rates[place]
        return np.arange(frames) / rate if rate else None


def open_sharded(
    path: Path, settings: DataSettings, *, leave_out_empty: bool, cut_persons: bool = False
) -> UsableSource:
    """Open a data set in shards. A damaged shard is reported, and the clips of the others are used.

    Args:
        path: Folder of the data set.
        settings: With `skip_bad`, all shards are read and compared with their digests.
        leave_out_empty: Whether to leave out clips without persons even without `skip_bad`.
        cut_persons: Whether each labelled person of a clip becomes a clip; clips with such labels are read.

    Raises:
        AnnotationError: No shard can be used, or one of the clips is malformed; the message names the remedy.
    """
    shards = ShardSet(path, verify=settings.skip_bad)
    for sentence in shards.damaged:
        log.warning("%s", sentence)
    label_names = list(shards.manifest.label_names)
    shape = _usual_shape(shards.shapes)
    usable = UsableClips(path, settings, shape, len(label_names), leave_out_empty)
    is_kept = np.ones(len(shards), bool)
    for index in np.flatnonzero(_suspicious(shards, shape, len(label_names))).tolist():
        before = len(usable.joints)
        usable.add(shards.annotation(index), index)
        is_kept[index] = len(usable.joints) > before
    kept = np.flatnonzero(is_kept)
    if not len(kept):
        raise AnnotationError(f"{path}: contains no usable clips; the first: {usable.skipped[0]}")
    splits = shards.splits
    listed: dict[str, Sequence[str]] = {
        name: [shards.names[index] for index in indices[~is_kept[indices]]] for name, indices in splits.items()
    }
    persons = _Persons(shards, kept if cut_persons else kept[:0], label_names, skip_bad=settings.skip_bad)
    is_kept[persons.replaced] = False
    kept = np.flatnonzero(is_kept)
    # Places among the kept clips.
    place = np.cumsum(is_kept) - 1
    numbers = {name: place[indices[is_kept[indices]]] for name, indices in splits.items()}
    table, joints = _table_of(shards, kept, dimensions=shape[1]), _AllJoints(shards, kept)
    return UsableSource(
        table.followed_by(table_of(persons.clips, persons.joints, shape[1])) if persons.clips else table,
        Joined(joints, persons.joints) if persons.clips else joints,
        persons.added_to(numbers, before=len(kept)),
        label_names,
        shape,
        [*shards.damaged, *usable.skipped, *persons.notes],
        usable.left_out(listed),
        digest=shards.content_digest(),
    )


class _Persons:
    """Clips of the labelled persons of some clips in shards.

    Args:
        shards: The data set.
        indices: int64 (N,), the clips.
        label_names: Names of the classes.
        skip_bad: Whether to ignore malformed labels.

    Attributes:
        clips: Annotations of the persons' clips without their joints.
        joints: These joints, read on demand.
        replaced: int64, those of the clips that have no label of their own, in place of which their persons are used.
        notes: A sentence for each label that was ignored.
    """

    def __init__(self, shards: ShardSet, indices: np.ndarray, label_names: list[str], *, skip_bad: bool) -> None:
        self.clips: list[dict[str, Any]] = []
        self.joints: list[Joints] = []
        self.notes: list[str] = []
        self._listed: dict[str, list[int]] = {}
        replaced = []
        labelled = [index for index in indices.tolist() if shards.person_labels[index] is not None]
        listed = {name: set(members.tolist()) for name, members in shards.splits.items()} if labelled else {}
        for index in labelled:
            own = {name: [shards.names[index]] for name, members in listed.items() if index in members}
            data = {"annotations": [shards.annotation(index)], "split": own, "label_names": label_names}
            cut, notes = with_person_clips(data, shards.path, skip_bad=skip_bad)
            self.notes += notes
            self._add(shards, index, cut)
            if not any(PART_OF not in clip for clip in cut["annotations"]):
                replaced.append(index)
        self.replaced = np.array(replaced, np.int64)

    def _add(self, shards: ShardSet, index: int, cut: Mapping[str, Any]) -> None:
        for clip in cut["annotations"]:
            if PART_OF not in clip:
                continue
            for name, members in cut["split"].items():
                if clip["frame_dir"] in members:
                    self._listed.setdefault(name, []).append(len(self.clips))
            self.joints.append(PartJoints(_ShardJoints(shards, index), *clip[PART_PLACE]))
            # The joints of many labelled persons would fill the memory.
            self.clips.append({key: value for key, value in clip.items() if key not in ARRAYS_OF_PERSONS})

    def added_to(self, splits: Mapping[str, np.ndarray], *, before: int) -> dict[str, np.ndarray]:
        """Return splits with the persons' clips, which are numbered from `before` on."""
        names = dict.fromkeys([*splits, *self._listed])
        nobody = np.zeros(0, np.int64)
        added = {name: before + np.array(self._listed.get(name, ()), np.int64) for name in names}
        found = {name: np.concatenate([splits.get(name, nobody), added[name]]) for name in names}
        return {name: clips for name, clips in found.items() if len(clips) or not self.clips}


def _usual_shape(shapes: np.ndarray) -> tuple[int, int]:
    """Return the most common (joints, coordinates); among equally common ones, that of the first clip."""
    _, first, counts = np.unique(_paired(shapes[:, 2:]), return_index=True, return_counts=True)
    joints, coordinates = shapes[first[np.lexsort((first, -counts))[0]], 2:].tolist()
    return joints, coordinates


def _suspicious(shards: ShardSet, shape: tuple[int, int], num_classes: int) -> np.ndarray:
    """Return bool (N,), True for clips that may be unusable and therefore have to be read."""
    usual = (shards.shapes[:, 2:] == shape).all(axis=1) & (shards.shapes[:, 1] > 0)
    usual &= (shards.labels >= UNLABELLED) & (shards.labels < num_classes)
    for name in ("is_finite", "has_person"):
        usual &= shards.column(name).to_numpy(zero_copy_only=False).astype(bool)
    usual &= shards.has_type("keypoint")
    usual &= shards.has_type("keypoint_score") | ~shards.has_field("keypoint_score")
    return ~usual


def _table_of(shards: ShardSet, kept: np.ndarray, *, dimensions: int) -> ClipTable:
    lengths = shards.shapes[kept, 1]
    seconds = shards.number("seconds")[kept]
    chosen = kept.tolist()
    return ClipTable(
        names=[shards.names[index] for index in chosen],
        labels=shards.labels[kept],
        groups=[shards.groups[index] for index in chosen],
        lengths=lengths,
        seconds=np.where(np.isnan(seconds), (lengths - 1) / UNKNOWN_RATE, seconds),
        sizes=_sizes(shards, kept) if dimensions == 2 else [None] * len(kept),
        tracked=shards.has_field("track_id")[kept].tolist(),
        times=_Times(shards, kept, np.nan_to_num(shards.number("fps")[kept])),
        estimators=frozenset(filter(None, shards.values("estimator"))),
        extraction=extraction_of(_first_steps(shards)),
        part_of=[None] * len(kept),
    )


def _sizes(shards: ShardSet, kept: np.ndarray) -> list[tuple[int, int]]:
    sizes = shards.sizes[kept]
    _, first, which = np.unique(_paired(sizes), return_index=True, return_inverse=True)
    # The same object for equal sizes, so that a million of them take little memory.
    known = [(int(height), int(width)) for height, width in sizes[first]]
    return [known[number] for number in which.tolist()]


def _paired(pairs: np.ndarray) -> np.ndarray:
    """Return one number for each of N pairs of numbers below 2^31."""
    paired: np.ndarray = (pairs[:, 0] << 31) + pairs[:, 1]
    return paired


def _first_steps(shards: ShardSet) -> Iterator[dict]:
    """Yield an annotation with the first step of its history for each value that occurs."""
    for text in shards.values("estimate"):
        yield {} if text is None else {"history": [from_text(text)]}
