"""Tracks of a long video in a temporary file; a block of their rows is in memory at a time."""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from pose_extraction.arrays.spool import Spool, Stored
from pose_extraction.poses import PoseTrack


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
    """Tracks in a temporary file. Large arrays are read when they are used; see `arrays.mapped`."""

    def __init__(self) -> None:
        self._spool = Spool(held=0)
        self._stored: list[tuple[int, int, list[Stored]]] = []

    def append(self, track: PoseTrack) -> None:
        """Add a track."""
        self.append_parts(track, (track.part(rows) for rows in track.row_blocks()))

    def append_parts(self, track: PoseTrack, parts: Iterable[PoseTrack]) -> None:
        """Add a track that is given in blocks of rows.

        Args:
            track: A track with the same identity, start and length, and arrays of the same shapes and types.
            parts: The rows, in order.
        """
        places = [self._spool.reserve(array.shape, array.dtype) for array in track.arrays]
        first = 0
        for part in parts:
            for place, array in zip(places, part.arrays, strict=True):
                self._spool.write(place, first, array)
            first += len(part)
        self._stored.append((track.track_id, track.start, places))

    def selected(self, numbers: Iterable[int]) -> "StoredTracks":
        """Return some of the tracks in the given order, without copying them."""
        some = StoredTracks()
        some._spool, some._stored = self._spool, [self._stored[number] for number in numbers]
        return some

    def __len__(self) -> int:
        return len(self._stored)

    def _track(self, number: int) -> PoseTrack:
        name, start, places = self._stored[number]
        return PoseTrack(name, start, *(self._spool.open(place) for place in places))


def fresh(tracks: Sequence[PoseTrack]) -> list[PoseTrack] | StoredTracks:
    """Return an empty sequence for the results of a step: in memory if the tracks are, or else in a file."""
    return [] if isinstance(tracks, list) else StoredTracks()


def add_parts(tracks: list[PoseTrack] | StoredTracks, track: PoseTrack, parts: Iterable[PoseTrack]) -> None:
    """Add a changed track to the results of a step; arguments as `StoredTracks.append_parts`."""
    if isinstance(tracks, StoredTracks):
        tracks.append_parts(track, parts)
        return
    first, *others = parts
    if others:
        arrays = zip(first.arrays, *(part.arrays for part in others), strict=True)
        first = PoseTrack(track.track_id, track.start, *(np.concatenate(pieces) for pieces in arrays))
    tracks.append(first)


def selected(tracks: Sequence[PoseTrack], numbers: Iterable[int]) -> Sequence[PoseTrack]:
    """Return some of the tracks in the given order; those in a file are neither read nor copied."""
    return tracks.selected(numbers) if isinstance(tracks, StoredTracks) else [tracks[number] for number in numbers]
