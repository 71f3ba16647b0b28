"""Tracks of a long video in a temporary file, so that one person's track is in memory at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import overload

from pose_extraction.poses import PoseTrack
from pose_extraction.tracking.spool import HELD, Spool, Stored

_ARRAYS = [item.name for item in fields(PoseTrack) if item.name not in ("track_id", "start")]


class LazyTracks(Sequence[PoseTrack]):
    """A sequence of tracks that are made on request. A subclass has `__len__` and `_track`."""

    def _track(self, number: int) -> PoseTrack:
        raise NotImplementedError

    @overload
    def __getitem__(self, number: int) -> PoseTrack: ...
    @overload
    def __getitem__(self, number: slice) -> list[PoseTrack]: ...
    def __getitem__(self, number: int | slice) -> PoseTrack | list[PoseTrack]:
        if isinstance(number, slice):
            return [self._track(one) for one in range(*number.indices(len(self)))]
        return self._track(range(len(self))[number])


class StoredTracks(LazyTracks):
    """Tracks in a temporary file; each access reads one.

    Args:
        held: Number of bytes that stay in memory, see `Spool`.
    """

    def __init__(self, held: int = HELD) -> None:
        self._spool = Spool(held)
        self._stored: list[tuple[int, int, list[Stored]]] = []

    def append(self, track: PoseTrack) -> None:
        """Add a track."""
        parts = [self._spool.add(getattr(track, name)) for name in _ARRAYS]
        self._stored.append((track.track_id, track.start, parts))

    def selected(self, numbers: Iterable[int]) -> "StoredTracks":
        """Return some of the tracks in the given order, without copying them."""
        some = StoredTracks()
        some._spool, some._stored = self._spool, [self._stored[number] for number in numbers]
        return some

    def __len__(self) -> int:
        return len(self._stored)

    def _track(self, number: int) -> PoseTrack:
        name, start, parts = self._stored[number]
        return PoseTrack(name, start, *(self._spool.read(part) for part in parts))


def fresh(tracks: Sequence[PoseTrack]) -> list[PoseTrack] | StoredTracks:
    """Return an empty sequence for the results of a step: in memory if the tracks are, or else in a file."""
    return [] if isinstance(tracks, list) else StoredTracks()


def selected(tracks: Sequence[PoseTrack], numbers: Iterable[int]) -> Sequence[PoseTrack]:
    """Return some of the tracks in the given order; those in a file are neither read nor copied."""
    return tracks.selected(numbers) if isinstance(tracks, StoredTracks) else [tracks[number] for number in numbers]
