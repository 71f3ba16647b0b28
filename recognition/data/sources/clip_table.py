"""What is known of all clips of a data set without their joints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from pose_extraction.formats.annotations import identifier_of
from pose_extraction.formats.clip_times import times_of
from pose_extraction.formats.person_clips import PART_OF
from recognition.data.clip import UNKNOWN_RATE, LeftOut
from recognition.data.extraction_settings import extraction_of
from recognition.data.sources.stored_joints import Joints


@dataclass(frozen=True)
class ClipTable:
    """One entry for each of N clips.

    Args:
        names: Ids.
        labels: int64 (N,), class; -1 for unlabelled clips.
        groups: Group; None for a clip without a group.
        lengths: int64 (N,), number of frames.
        seconds: float64 (N,), time from the first to the last frame.
        sizes: (height, width) of the frame in pixels; None in 3D.
        tracked: Whether each slot contains the same person in all frames.
        times: Times of the frames in seconds, float64 (T,); None if they are not known. May be read on demand.
        estimators: Names of the pose estimators that occur.
        extraction: Settings of the estimator that the clips have in common; see `extraction_of`.
        part_of: For clips of single labelled persons, the id of the clip that each was cut from; else None.
    """

    names: list[str]
    labels: np.ndarray
    groups: list[str | None]
    lengths: np.ndarray
    seconds: np.ndarray
    sizes: Sequence[tuple[int, int] | None]
    tracked: Sequence[bool]
    times: Sequence[np.ndarray | None]
    estimators: frozenset[str] = frozenset()
    extraction: dict[str, Any] = field(default_factory=dict)
    part_of: Sequence[str | None] = ()

    def followed_by(self, other: "ClipTable") -> "ClipTable":
        """Return a table of these clips and then those of another table, with these settings of the estimator."""
        return ClipTable(
            names=[*self.names, *other.names],
            labels=np.concatenate([self.labels, other.labels]),
            groups=[*self.groups, *other.groups],
            lengths=np.concatenate([self.lengths, other.lengths]),
            seconds=np.concatenate([self.seconds, other.seconds]),
            sizes=[*self.sizes, *other.sizes],
            tracked=[*self.tracked, *other.tracked],
            times=Joined(self.times, other.times),
            estimators=self.estimators | other.estimators,
            extraction=self.extraction,
            part_of=[*self.part_of, *other.part_of],
        )


Item = TypeVar("Item")


class Joined(Sequence[Item]):
    """Two sequences, one after the other; their items are read on demand."""

    def __init__(self, first: Sequence[Item], second: Sequence[Item]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, place: int) -> Item:  # type: ignore[override]
        there = place - len(self._first)
        return self._first[place] if there < 0 else self._second[there]


@dataclass(frozen=True)
class UsableSource:
    """The usable clips of a data set, in a skeleton file or in shards.

    Args:
        table: What is known of them.
        joints: Their joints, read on demand.
        splits: Name -> int64 indices of its clips, in ascending order.
        label_names: Class names, in the order of the class numbers.
        shape: Number of joints and of coordinates of all clips.
        skipped: Sentences about everything that was left out.
        left_out: Clips among these that have a unique id.
        names_given: Whether `label_names` are real names, rather than numbers derived from the labels.
        digest: Digest of the content of all joints that is stored with them; None if there is none.
    """

    table: ClipTable
    joints: Sequence[Joints]
    splits: dict[str, np.ndarray]
    label_names: list[str]
    shape: tuple[int, int]
    skipped: list[str]
    left_out: Sequence[LeftOut] = ()
    names_given: bool = True
    digest: bytes | None = None


def table_of(annotations: Sequence[Mapping[str, Any]], joints: Sequence[Joints], dimensions: int) -> ClipTable:
    """Return the table of clips in memory.

    Args:
        annotations: The clips.
        joints: Their joints.
        dimensions: Coordinates per joint, 2 or 3.
    """
    lengths = np.array([clip.num_frames for clip in joints], np.int64)
    times = [times_of(annotation, clip.num_frames) for annotation, clip in zip(annotations, joints, strict=True)]
    spans = [
        (length - 1) / UNKNOWN_RATE if time is None else time[-1] - time[0]
        for length, time in zip(lengths, times, strict=True)
    ]
    recorded = (annotation.get("estimator") for annotation in annotations)
    return ClipTable(
        names=[identifier_of(annotation) for annotation in annotations],
        labels=np.array([annotation["label"] for annotation in annotations], np.int64),
        groups=[annotation.get("group") for annotation in annotations],
        lengths=lengths,
        seconds=np.array(spans),
        sizes=[tuple(annotation["img_shape"]) if dimensions == 2 else None for annotation in annotations],
        tracked=["track_id" in annotation for annotation in annotations],
        times=times,
        estimators=frozenset(name for name in recorded if isinstance(name, str) and name),
        extraction=extraction_of(annotations),
        part_of=[annotation.get(PART_OF) for annotation in annotations],
    )
