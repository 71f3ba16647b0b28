"""The raw poses of a video, which go to a temporary file in blocks of frames as they arrive."""

from array import array
from collections.abc import Collection, Iterator

import numpy as np

from pose_extraction.poses import FramePoses
from pose_extraction.tracking.spool import HELD, Spool, Stored

# Number of frames in a block.
BLOCK = 1024
# Arrays of a frame.
PARTS = ("box", "box_score", "keypoint", "keypoint_score")


class RawPoses(Collection[FramePoses]):
    """Frames of a video with their raw poses, in order. Memory holds one block of them, and 24 bytes for each frame.

    Args:
        block: Number of frames in a block.
        held: Number of bytes that stay in memory, so that a short video needs no file; see `Spool`.
    """

    def __init__(self, *, block: int = BLOCK, held: int = HELD) -> None:
        self._block = block
        self._spool = Spool(held)
        self._index, self._time, self._count = array("q"), array("d"), array("q")
        self._blocks: list[list[Stored]] = []
        self._newest: list[FramePoses] = []

    def append(self, frame: FramePoses) -> None:
        """Add the next frame.

        Raises:
            OSError: The temporary file cannot be written.
        """
        self._index.append(frame.frame_index)
        self._time.append(frame.time)
        self._count.append(frame.num_persons)
        self._newest.append(frame)
        if len(self._newest) == self._block:
            parts = [np.concatenate([getattr(frame, name) for frame in self._newest]) for name in PARTS]
            self._blocks.append([self._spool.add(part) for part in parts])
            self._newest = []

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, frame: object) -> bool:
        return any(frame is one for one in self)

    def __iter__(self) -> Iterator[FramePoses]:
        first = 0
        for block in self._blocks:
            box, score, keypoint, keypoint_score = (self._spool.read(part) for part in block)
            row = 0
            for number in range(first, first + self._block):
                rows = slice(row, row + self._count[number])
                parts = (box[rows], score[rows], keypoint[rows], keypoint_score[rows])
                yield FramePoses(self._index[number], self._time[number], *parts)
                row = rows.stop
            first += self._block
        yield from self._newest
