"""The poses in the frames of many videos, from an estimator that sees whole frames and needs no detector."""

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Protocol

import numpy as np

from pose_extraction.poses import FramePoses
from pose_extraction.streaming.stage_times import StageTimes, Video
from pose_extraction.video.reader import Frame


class BottomUpEstimator(Protocol):
    """Estimates the persons in whole frames, without a detector."""

    batch_size: int

    def estimate(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Estimate the persons in frames.

        Args:
            images: uint8 (H, W, 3) BGR frames.

        Returns:
            Box, box score, keypoint and keypoint score of the persons in each frame, shaped as in `FramePoses`.
        """
        ...


def estimate_bottomup(
    frames: Iterable[tuple[Video, Frame | None]], estimator: BottomUpEstimator, times: StageTimes
) -> Iterator[tuple[Video, FramePoses | None]]:
    """Estimate the poses of whole frames, in batches that can span videos. Arguments as `estimate_topdown`."""
    line: list[tuple[Video, Frame | None]] = []
    waiting = 0

    def run() -> Iterator[tuple[Video, FramePoses | None]]:
        started = perf_counter()
        found = iter(estimator.estimate([frame.image for _, frame in line if frame is not None]))
        times.network += perf_counter() - started
        for video, frame in line:
            yield video, FramePoses(frame.index, frame.time, *next(found)) if frame is not None else None
        line.clear()

    for video, frame in frames:
        line.append((video, frame))
        waiting += frame is not None
        # Collect two batches, so that decoding of the first runs in parallel with the network on the second.
        if waiting >= 2 * estimator.batch_size:
            yield from run()
            waiting = 0
    if line:
        yield from run()
