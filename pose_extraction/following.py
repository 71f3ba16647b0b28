"""Online version of `extraction.follow`, for videos that are still running, in bounded memory.

The tracker runs continuously. Cleaning is applied to the requested period with some context on both sides, because gap
filling and outlier detection depend on neighbouring frames.
"""

from collections import deque
from dataclasses import replace
from itertools import takewhile

import numpy as np

from pose_extraction.extraction import ExtractionSettings, cut
from pose_extraction.poses import FramePoses, VideoPoses
from pose_extraction.tracking.cleaning import clean, rank_persons, remove_duplicates
from pose_extraction.tracking.joint_cleaning import mask_low_scores
from pose_extraction.tracking.tracker import Tracker
from pose_extraction.tracking.tracks import build_tracks


class Follower:
    """Tracks the persons of one video frame by frame.

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
        """Seconds of context that cleaning needs before and after a period."""
        cleaning = self._settings.cleaning
        return 2 * max(cleaning.max_gap_seconds, cleaning.smooth_seconds)

    def add(self, poses: FramePoses) -> None:
        """Add the raw poses of the next frame."""
        single = remove_duplicates(poses)
        self._held.append((single, self._tracker.update(single)))

    def now(self) -> VideoPoses:
        """Return the persons of the newest frame, with their track ids and without low-score joints."""
        frame, ids = self._held[-1]
        video = VideoPoses(
            frame_index=np.array([frame.frame_index], np.int64),
            time=np.array([frame.time], np.float64),
            size=self.size,
            tracks=build_tracks([frame], [ids]),
        )
        return mask_low_scores(video, threshold=self._settings.cleaning.min_joint_score)

    def forget(self, before: float) -> None:
        """Discard frames before a time in seconds, except for the context of the remaining frames."""
        while self._held and self._held[0][0].time < before - self.context:
            self._held.popleft()

    def stretch(self, start: float, end: float) -> VideoPoses:
        """Return the persons in a period, cleaned and sorted by importance.

        Args:
            start: Start of the period in seconds.
            end: End of the period in seconds, exclusive.

        Returns:
            The persons, with the track ids of the whole video. Discarded and future frames are not included.
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
