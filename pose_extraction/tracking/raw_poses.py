"""The raw poses of a video, which go to a temporary file in blocks of frames as they arrive."""

from collections.abc import Collection, Iterator

import numpy as np

from pose_extraction.arrays.spool import HELD, Spool, Stored
from pose_extraction.poses import FramePoses

# Number of frames in a block.
BLOCK = 1024
# Arrays of a frame.
PARTS = ("box", "box_score", "keypoint", "keypoint_score")


class RawPoses(Collection[FramePoses]):
    """Frames of a video with their raw poses, in order. Memory holds one block of them.

    Args:
        block: Number of frames in a block.
        held: Number of bytes that stay in memory, so that a short video needs no file; see `Spool`.
    """

    def __init__(self, *, block: int = BLOCK, held: int = HELD) -> None:
        self._block = block
        self._spool = Spool(held)
        # Numbers, times and numbers of persons of the frames, then `PARTS`.
        self._blocks: list[list[Stored]] = []
        self._newest: list[FramePoses] = []

    def append(self, frame: FramePoses) -> None:
        """Add the next frame.

        Raises:
            OSError: The temporary file cannot be written.
        """
        self._newest.append(frame)
        if len(self._newest) == self._block:
            frames = self._newest
            arrays = [
                np.array([frame.frame_index for frame in frames], np.int64),
                np.array([frame.time for frame in frames], np.float64),
                np.array([frame.num_persons for frame in frames], np.int64),
                *(np.concatenate([getattr(frame, name) for frame in frames]) for name in PARTS),
            ]
            self._blocks.append([self._spool.add(array) for array in arrays])
            self._newest = []

    def __len__(self) -> int:
        return len(self._blocks) * self._block + len(self._newest)

    def __contains__(self, frame: object) -> bool:
        return any(frame is one for one in self)

    def __iter__(self) -> Iterator[FramePoses]:
        for block in self._blocks:
            index, time, count, *arrays = (self._spool.read(part) for part in block)
            row = 0
            for number, moment, persons in zip(index.tolist(), time.tolist(), count.tolist(), strict=True):
                rows = slice(row, row + persons)
                yield FramePoses(number, moment, *(array[rows] for array in arrays))
                row = rows.stop
        yield from self._newest
