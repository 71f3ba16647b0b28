"""Tracks from the poses of each frame and their identities."""

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import new_array, release, row_blocks
from pose_extraction.arrays.spool import HELD, Spool, Stored
from pose_extraction.errors import UsageError
from pose_extraction.poses import FramePoses, PoseTrack
from pose_extraction.tracking.raw_poses import BLOCK, PARTS
from pose_extraction.tracking.stored_tracks import LazyTracks


@dataclass(slots=True)
class _Person:
    """Poses of one identity.

    Args:
        rows: Positions of its frames among the sampled frames.
        pieces: Number of poses in each piece, and where their arrays are.
    """

    rows: array = field(default_factory=lambda: array("I"))
    pieces: list[tuple[int, list[Stored]]] = field(default_factory=list)


class TrackedPoses:
    """The poses of a video, sorted by identity. Many of them are in a temporary file, so that memory does not fill.

    Args:
        block: Number of frames whose poses are stored together.
        held: Number of bytes that stay in memory, see `Spool`.
    """

    def __init__(self, *, block: int = BLOCK, held: int = HELD) -> None:
        self._block = block
        self._spool = Spool(held)
        self._persons: dict[int, _Person] = {}
        # Poses that are not stored yet, each as the arrays of `PARTS`.
        self._newest: dict[int, list[list[Any]]] = {}
        # For each frame: its time, and the number of persons, of their joints, and of those that are missing.
        self._time, self._found, self._joints, self._missing = array("d"), array("I"), array("I"), array("I")

    def append(self, frame: FramePoses, ids: np.ndarray) -> None:
        """Add the poses of the next frame.

        Args:
            frame: The frame.
            ids: Identities int (M,), -1 for poses to ignore.

        Raises:
            UsageError: An identity occurs twice, or the numbers of poses and identities differ.
        """
        names = ids.tolist()
        if len(names) != frame.num_persons:
            raise UsageError(f"frame {frame.frame_index} has {frame.num_persons} poses, but {len(names)} identities")
        position = len(self._time)
        for number, name in enumerate(names):
            if name < 0:
                continue
            person = self._persons.setdefault(name, _Person())
            if person.rows and person.rows[-1] == position:
                raise UsageError(f"identity {name} occurs twice in one frame: assign a different identity to each pose")
            person.rows.append(position)
            self._newest.setdefault(name, []).append([getattr(frame, part)[number] for part in PARTS])
        self._time.append(frame.time)
        self._found.append(frame.num_persons)
        self._joints.append(frame.keypoint_score.size)
        self._missing.append(int(np.isnan(frame.keypoint[..., 0]).sum()))
        if len(self._time) % self._block == 0:
            self._store()

    def _store(self) -> None:
        for name, poses in self._newest.items():
            parts = [self._spool.add(np.array(part)) for part in zip(*poses, strict=True)]
            self._persons[name].pieces.append((len(poses), parts))
        self._newest = {}

    @property
    def num_tracked(self) -> int:
        """Number of poses with an identity."""
        return sum(len(person.rows) for person in self._persons.values())

    @property
    def num_tracks(self) -> int:
        """Number of identities."""
        return len(self._persons)

    @property
    def time(self) -> np.ndarray:
        """float64 (T,), times of the frames in seconds."""
        return np.array(self._time)

    @property
    def found(self) -> np.ndarray:
        """int64 (T,), numbers of persons, with and without an identity."""
        return np.array(self._found, np.int64)

    def joints(self, first: int, last: int | None) -> tuple[int, int]:
        """Return the number of joints of all persons in some frames, and the number of those that are missing."""
        return sum(self._joints[first:last]), sum(self._missing[first:last])

    def tracks(self, first: int = 0, last: int | None = None) -> LazyTracks:
        """Return the tracks in some of the frames, as if there were no others.

        Args:
            first: Position of the first frame.
            last: Position after the last frame; None for all.

        Returns:
            Tracks sorted by identity, each from the first to the last frame in which it was detected. Frames without a
            detection have NaN and score 0. Each access makes a track.
        """
        self._store()
        return _TracksOfSpan(self._spool, self._persons, first, len(self._time) if last is None else last)


class _TracksOfSpan(LazyTracks):
    def __init__(self, spool: Spool, persons: dict[int, _Person], first: int, last: int) -> None:
        self._spool, self._persons, self._first = spool, persons, first
        # Name, and which of its poses are in the span.
        self._names: list[tuple[int, int, int]] = []
        for name in sorted(persons):
            low, high = np.searchsorted(np.frombuffer(persons[name].rows, np.uintc), (first, last))
            if low < high:
                self._names.append((name, int(low), int(high)))

    def __len__(self) -> int:
        return len(self._names)

    def _track(self, number: int) -> PoseTrack:
        name, low, high = self._names[number]
        person = self._persons[name]
        rows = np.array(person.rows[low:high], np.int64)
        start = int(rows[0])
        rows -= start
        num_joints = person.pieces[0][1][PARTS.index("keypoint_score")].shape[1]
        length = int(rows[-1]) + 1
        track = PoseTrack(
            name,
            start - self._first,
            new_array((length, num_joints, 2), np.float32),
            new_array((length, num_joints), np.float32),
            new_array((length, 4), np.float32),
            new_array((length,), np.float32),
            new_array((length, num_joints), bool),
        )
        for block in row_blocks(length, track.keypoint, track.box):
            track.keypoint[block], track.box[block] = np.nan, np.nan
        begin = 0
        for count, parts in person.pieces:
            chosen = slice(max(low - begin, 0), max(min(high - begin, count), 0))
            if chosen.start < chosen.stop:
                places = rows[begin + chosen.start - low : begin + chosen.stop - low]
                for name_of_part, part in zip(PARTS, parts, strict=True):
                    getattr(track, name_of_part)[places] = self._spool.read(part)[chosen]
                release(*track.arrays)
            begin += count
        return track


def tracked(frames: Collection[FramePoses], ids: Iterable[np.ndarray]) -> TrackedPoses:
    """Sort the poses of frames by identity.

    Args:
        frames: T frames in order.
        ids: Identities int (M,) of the poses in each frame, -1 for poses to ignore.

    Raises:
        UsageError: An identity occurs twice in a frame, or the numbers of poses and identities differ.
    """
    poses = TrackedPoses()
    for frame, names in zip(frames, ids, strict=True):
        poses.append(frame, names)
    return poses


def build_tracks(frames: Collection[FramePoses], ids: Iterable[np.ndarray]) -> list[PoseTrack]:
    """Collect the poses of each identity in one track; see `tracked` and `TrackedPoses.tracks`."""
    return list(tracked(frames, ids).tracks())
