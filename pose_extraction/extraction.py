"""The extraction pipeline: from the frames of many videos to tracked and cleaned persons."""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pose_extraction.arrays.mapped import new_array
from pose_extraction.networks.blazepose.estimator import BlazePoseEstimator
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.poses import FramePoses, VideoPoses
from pose_extraction.streaming.bottomup import BottomUpEstimator, estimate_bottomup
from pose_extraction.streaming.persons import detect_persons
from pose_extraction.streaming.regions import estimate_followed
from pose_extraction.streaming.stage_times import StageTimes, Video
from pose_extraction.streaming.topdown import estimate_topdown
from pose_extraction.tracking.cleaning import (
    CleaningSettings,
    clean,
    duplicates_entry,
    rank_persons,
    remove_duplicates,
)
from pose_extraction.tracking.quality import clean_counts, frame_counts, present
from pose_extraction.tracking.stored_tracks import fresh
from pose_extraction.tracking.tracker import Tracker, TrackerSettings
from pose_extraction.tracking.tracks import TrackedPoses
from pose_extraction.video.decoding import Job, decode_ahead
from pose_extraction.video.reader import Frame

# For this many seconds, people move almost linearly, so boxes between two detections can be interpolated. On real clips
# at 30 frames per second, the mean OKS relative to detection in every frame was 0.99 with every 2nd and 0.98 with every
# 4th frame, for confident joints (benchmarks/default_vs_accurate.py).
DETECTION_INTERVAL = 0.1
# Time stamps are often rounded to milliseconds.
STAMP_NOISE = 0.001
# Relative difference below which two frame rates are considered equal.
RATE_TOLERANCE = 0.2
# With more poses than this, the tracks of a video are in a temporary file. A pose takes about 230 bytes, and cleaning
# makes copies.
HELD_POSES = 50_000


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings that affect the result, in addition to the networks.

    Args:
        detect_every: The detector runs on every N-th sampled frame (see `detect_persons`); None: on one frame per
            `DETECTION_INTERVAL` of video time.
        max_persons: Maximum number of persons per clip; the most important ones are kept.
        persons: Expected number of persons in each frame, for the statistics; None if unknown.
        tracker: See `Tracker`.
        cleaning: See `clean`.
    """

    detect_every: int | None = None
    max_persons: int = 10
    persons: int | None = None
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)

    def is_key(self, times: Sequence[float]) -> bool:
        """Return whether the detector runs on a frame. See `is_key` of `detect_persons`.

        Args:
            times: Times in seconds of the frames since the last key frame; at least two.
        """
        if self.detect_every is not None:
            return len(times) > self.detect_every
        # Select the frame closest to the end of the interval: the next one would be further away.
        half_a_step = (times[-1] - times[-2]) / 2
        return times[-1] - times[0] + half_a_step >= DETECTION_INTERVAL - STAMP_NOISE


@dataclass(frozen=True)
class ExtractedClip:
    """One clip of a video.

    Args:
        poses: Its persons, sorted by importance.
        quality: {"raw": counts, "clean": counts}, see `quality`. The raw counts are computed after `remove_duplicates`,
            so that a duplicate detection does not count as a second person.
    """

    poses: VideoPoses
    quality: dict[str, dict[str, float]]


class PoseExtractor:
    """Decodes videos and estimates the poses in their frames.

    Args:
        estimator: Top-down estimator (requires a detector), BlazePose (may have one) or bottom-up estimator.
        detector: Person detector.
        settings: See `ExtractionSettings`.
        workers: Number of videos that are decoded concurrently.
        overlap: Whether a top-down network computes while other threads prepare its next batches and decode its last
            ones; see `estimate_topdown`. This helps if the network runs on a GPU.
    """

    def __init__(
        self,
        estimator: TopdownEstimator | BlazePoseEstimator | BottomUpEstimator,
        detector: PersonDetector | None,
        settings: ExtractionSettings | None = None,
        *,
        workers: int = 1,
        overlap: bool = False,
    ) -> None:
        self.estimator = estimator
        self.detector = detector
        self.settings = settings or ExtractionSettings()
        self.workers = workers
        self.overlap = overlap
        self.times = StageTimes()

    def is_key(self, times: Sequence[float]) -> bool:
        """Return whether the detector runs on a frame; see `ExtractionSettings.is_key`."""
        return self.settings.is_key(times)

    def frames(self, jobs: Iterable[Job]) -> Generator[tuple[Job, FramePoses | None], None, None]:
        """Yield (job, poses) for each frame, with videos interleaved, and (job, None) at the end of a video."""
        yield from self.poses(decode_ahead(jobs, workers=self.workers))

    def poses(
        self, frames: Iterable[tuple[Video, Frame | None]]
    ) -> Generator[tuple[Video, FramePoses | None], None, None]:
        """Estimate the poses of the frames of several videos, which may be interleaved.

        Args:
            frames: (video, frame) pairs; (video, None) at the end of a video. Anything may identify a video.

        Yields:
            (video, poses) pairs; (video, None) at the end of a video.

        Raises:
            ValueError: A top-down estimator has no detector.
        """
        if isinstance(self.estimator, TopdownEstimator):
            if self.detector is None:
                raise ValueError("a top-down estimator needs a detector")
            found = detect_persons(frames, self.detector, self.is_key, self.times)
            yield from estimate_topdown(found, self.estimator, self.times, overlap=self.overlap)
        elif isinstance(self.estimator, BlazePoseEstimator):
            yield from estimate_followed(frames, self.estimator, self.detector, self.is_key, self.times)
        else:
            yield from estimate_bottomup(frames, self.estimator, self.times)

    def videos(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[FramePoses]]]:
        """Yield (job, poses of all frames) for each video as soon as it is complete."""
        open_videos: dict[Job, list[FramePoses]] = {}
        for job, poses in self.frames(jobs):
            if poses is None:
                yield job, open_videos.pop(job, [])
            else:
                open_videos.setdefault(job, []).append(poses)


def frame_rate(frames: Collection[FramePoses], claimed: float) -> float:
    """Return the frame rate of a source: the value in its header, unless the time stamps contradict it.

    Some recorders store the resolution of their clock as the frame rate, such as 1000 for a video at 25 Hz.

    Args:
        frames: Sampled frames, in order.
        claimed: Frame rate in the header, greater than 0.

    Returns:
        Frames per second.
    """
    if len(frames) < 2:
        return claimed
    times, numbers = np.empty(len(frames)), np.empty(len(frames), np.int64)
    for position, poses in enumerate(frames):
        times[position], numbers[position] = poses.time, poses.frame_index
    steps = np.diff(times) / np.diff(numbers)
    measured = 1 / float(np.median(steps))
    return claimed if abs(measured - claimed) <= RATE_TOLERANCE * claimed else measured


def follow(
    frames: Collection[FramePoses],
    size: tuple[int, int],
    settings: ExtractionSettings,
    spans: Sequence[tuple[float | None, float | None]] = ((None, None),),
    *,
    held_poses: int = HELD_POSES,
) -> list[ExtractedClip]:
    """Track persons and clean their tracks.

    Args:
        frames: Raw poses of all sampled frames; for a long video `RawPoses`.
        size: (height, width) of the upright frame in pixels.
        settings: See `ExtractionSettings`.
        spans: (start, end) in seconds of each clip to cut from the video; None for its beginning or end.
        held_poses: Number of poses up to which tracks stay in memory. Those of a longer video are in a temporary file,
            and a block of frames at a time in memory.

    Returns:
        One clip per span. Track ids are consistent across the clips of a video.
    """
    tracker = Tracker(settings.tracker, size)
    tracked = TrackedPoses()
    frame_index = new_array((len(frames),), np.int64)
    removed = 0
    for position, poses in enumerate(frames):
        single = remove_duplicates(poses)
        tracked.append(single, tracker.update(single))
        frame_index[position] = poses.frame_index
        removed += poses.num_persons - single.num_persons
    tracks = tracked.tracks()
    video = VideoPoses(
        frame_index=frame_index,
        time=tracked.time,
        size=size,
        tracks=list(tracks) if tracked.num_tracked <= held_poses else tracks,
        history=[duplicates_entry(removed), _tracking_entry(settings.tracker, tracked)],
    )
    cleaned = clean(video, settings.cleaning)
    clips = []
    for start, end in spans:
        first, last = _rows(video.time, start, end)
        ranked = rank_persons(cut(cleaned, first, last), max_persons=settings.max_persons)
        quality = {
            "raw": frame_counts(tracked, first, last, persons=settings.persons),
            "clean": clean_counts(ranked, persons=settings.persons),
        }
        clips.append(ExtractedClip(ranked, quality))
    return clips


def _tracking_entry(settings: TrackerSettings, poses: TrackedPoses) -> dict[str, Any]:
    detections = int(poses.found.sum())
    counts = {
        "detections": detections,
        "without_track": detections - poses.num_tracked,
        "tracks": poses.num_tracks,
    }
    return {"step": "track", "parameters": asdict(settings), "counts": counts}


def _rows(time: np.ndarray, start: float | None, end: float | None) -> tuple[int, int]:
    first = 0 if start is None else int(np.searchsorted(time, start, side="left"))
    last = len(time) if end is None else int(np.searchsorted(time, end, side="left"))
    return first, last


def cut(video: VideoPoses, first: int, last: int) -> VideoPoses:
    """Return the sampled frames `first` to `last` - 1 of a video, with the corresponding parts of its tracks.

    Each part starts and ends with a frame in which the person is present. Persons who are never present are removed.

    Args:
        video: Video to cut.
        first: Position of the first frame among the sampled frames.
        last: Position after the last frame.
    """
    if first == 0 and last == video.num_frames:
        return video
    tracks = fresh(video.tracks)
    for track in video.tracks:
        here = track.start + np.flatnonzero(present(track))
        here = here[(first <= here) & (here < last)]
        if len(here):
            part = track.part(slice(int(here[0]) - track.start, int(here[-1]) + 1 - track.start))
            tracks.append(replace(part, start=part.start - first))
    return replace(video, frame_index=video.frame_index[first:last], time=video.time[first:last], tracks=tracks)
