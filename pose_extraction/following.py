"""Identities and clean tracks while a video still runs: like `extraction.follow`, in the memory of a stretch of time.

The tracker goes on for ever; cleaning sees the stretch that is asked for with some context on both sides, for what it
fills and doubts depends on the neighbours.
"""

from collections import deque
from dataclasses import replace
from itertools import takewhile

import numpy as np

from pose_extraction.cleaning import clean, mask_low_scores, rank_persons, remove_duplicates
from pose_extraction.extraction import ExtractionSettings, cut
from pose_extraction.poses import FramePoses, VideoPoses
from pose_extraction.tracking import Tracker, build_tracks


class Follower:
    """Follows the persons of one video, frame by frame.

    Args:
        size: (height, width) of the upright frame in pixels.
        settings: See `ExtractionSettings`.
    """

    def __init__(self, size: tuple[int, int], settings: ExtractionSettings) -> None:
        self.size = size
        self._settings = settings
        self._tracker = Tracker(settings.tracker, size)
        self._held: deque[tuple[FramePoses, np.ndarray]] = deque()

    @property
    def context(self) -> float:
        """Seconds on both sides of a stretch that cleaning should see."""
        cleaning = self._settings.cleaning
        return 2 * max(cleaning.max_gap_seconds, cleaning.smooth_seconds)

    def add(self, poses: FramePoses) -> None:
        """Takes the next frame's raw poses."""
        (single,), _ = remove_duplicates([poses])
        self._held.append((single, self._tracker.update(single)))

    def now(self) -> VideoPoses:
        """The persons of the newest frame alone, with their identities; joints of too low a score are not there."""
        frame, ids = self._held[-1]
        video = VideoPoses(
            frame_index=np.array([frame.frame_index], np.int64),
            time=np.array([frame.time], np.float64),
            size=self.size,
            tracks=build_tracks([frame], [ids]),
        )
        return mask_low_scores(video, threshold=self._settings.cleaning.min_joint_score)

    def forget(self, before: float) -> None:
        """Lets go of all frames before a time in seconds, but for the context of those that stay."""
        while self._held and self._held[0][0].time < before - self.context:
            self._held.popleft()

    def stretch(self, start: float, end: float) -> VideoPoses:
        """The persons from `start` to before `end` in seconds, cleaned, the most relevant first.

        Identities are those of the whole video. What was forgotten is not there, nor what has not come yet.
        """
        near = [
            pair
            for pair in takewhile(lambda pair: pair[0].time < end + self.context, self._held)
            if pair[0].time >= start - self.context
        ]
        frames, ids = [pair[0] for pair in near], [pair[1] for pair in near]
        video = VideoPoses(
            frame_index=np.array([poses.frame_index for poses in frames], np.int64),
            time=np.array([poses.time for poses in frames], np.float64),
            size=self.size,
            tracks=build_tracks(frames, ids),
        )
        cleaned = clean(video, replace(self._settings.cleaning, max_persons=None))
        first, last = np.searchsorted(video.time, [start, end])
        return rank_persons(cut(cleaned, int(first), int(last)), max_persons=self._settings.max_persons)
