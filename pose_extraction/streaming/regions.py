"""Run an estimator that follows persons from frame to frame on the frames of many videos, in shared batches.

A person is looked at in a square that follows from the landmarks of the previous frame, so the frames of a video are
processed one after the other; persons, and frames of other videos, share a batch. As elsewhere in this package, the
results of a video do not depend on other videos in the batch.

On a grid of video time, persons are found afresh, and the new squares take over from the old ones once they have
settled. So the poses of a frame depend on a bounded part of the video before it, and a video in pieces that start on
the grid has the poses of one pass.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.networks.blazepose.estimator import BlazePoseEstimator, Candidates, boxes_of
from pose_extraction.networks.blazepose.landmarks import Landmarks
from pose_extraction.networks.blazepose.regions import Regions, regions_of_boxes
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.poses import FramePoses
from pose_extraction.streaming.key_frames import MOST_BETWEEN, KeyClock, KeyRule
from pose_extraction.streaming.stage_times import StageTimes, Video
from pose_extraction.video.reader import Frame

# Squares of one person: their centres differ by less than this fraction of the side, and their sides by less than this
# factor.
SAME_PERSON_DISTANCE, SAME_PERSON_FACTOR = 0.16, 1.6
# After a search of all tiles that finds nobody, seconds of video until the next one.
SEARCH_PAUSE = 1.0
# Persons are found afresh in the first key frame of each period of this many seconds of video time.
RESTART_SECONDS = 20.0
# For this many seconds, they are followed next to those known before, whose poses still count: the detector does not
# see everyone in each key frame. With restarts every 3 s, a clip with two to three people lost 13 % of its poses
# without this time, 4 % with one second, and none with two.
SETTLING_SECONDS = 2.0


@dataclass(eq=False)
class _Waiting:
    """A frame in the pipeline.

    Args:
        frame: The frame.
        found: The squares that the detector suggests; None unless it is a key frame.
        restarts: Whether persons are found afresh.
    """

    frame: Frame
    found: Regions | None = None
    restarts: bool = False


@dataclass(eq=False)
class _Followed:
    """Persons who are followed from a key frame on.

    Args:
        start: Time in seconds of the key frame.
        people: Their squares in the frame before the next one, for the next one.
        searched: Time in seconds of the last search of all tiles that found nobody.
    """

    start: float
    people: Regions = field(default_factory=Regions.none)
    searched: float = -np.inf


@dataclass(eq=False)
class _RestartClock:
    """Tells which frames of a video are key frames, and in which of them persons are found afresh."""

    keys: KeyClock
    _last: float | None = None

    def add(self, time: float) -> tuple[bool, bool]:
        """Take the time in seconds of the next frame; return whether it is a key frame, and whether it restarts."""
        if not self.keys.add(time):
            return False, False
        restarts = self._last is None or self._last // RESTART_SECONDS != time // RESTART_SECONDS
        self._last = time
        return True, restarts


@dataclass(eq=False)
class _OpenVideo:
    """State of a video.

    Args:
        clock: Selects the key frames.
        line: Frames that wait, in order.
        followed: Persons who are followed, those who have been for longest first; the poses of these count.
        ended: Whether the last frame has arrived.
    """

    clock: _RestartClock
    line: deque[_Waiting] = field(default_factory=deque)
    followed: list[_Followed] = field(default_factory=list)
    ended: bool = False

    def next_frame(self) -> tuple[_Waiting, list[_Followed]]:
        """Take the first frame from the line; return it with the persons to look for in it."""
        head = self.line.popleft()
        time = head.frame.time
        if head.restarts:
            self.followed.append(_Followed(time))
        while len(self.followed) > 1 and _has_settled(self.followed[1].start, time):
            del self.followed[0]
        return head, self.followed


def _clock(is_key: KeyRule) -> _RestartClock:
    # No frame waits for the next key frame, so there may be any number between two.
    return _RestartClock(KeyClock(is_key, most_between=None))


def _has_settled(start: float, time: float) -> bool:
    return time - start >= SETTLING_SECONDS


def restarts(times: Sequence[float], is_key: KeyRule) -> Iterator[tuple[int, int]]:
    """Yield where the poses of a video stop depending on earlier frames, apart from its beginning.

    Args:
        times: Times in seconds of the frames.
        is_key: See `KeyRule`.

    Yields:
        (number of a frame in which persons are found afresh, number of the first frame whose poses follow from it).
    """
    clock = _clock(is_key)
    begins = [index for index, time in enumerate(times) if clock.add(time)[1]]
    for begin in begins[1:]:
        first = bisect_left(times, True, lo=begin, key=lambda time: _has_settled(times[begin], time))
        if first < len(times):
            yield begin, first


def estimate_followed(
    frames: Iterable[tuple[Video, Frame | None]],
    estimator: BlazePoseEstimator,
    detector: PersonDetector | None,
    is_key: KeyRule,
    times: StageTimes,
) -> Iterator[tuple[Video, FramePoses | None]]:
    """Estimate the poses of persons that are found in key frames and followed in the others.

    Args:
        frames: (video, frame) pairs; the frame None ends the video. Videos may be interleaved.
        estimator: The estimator.
        detector: Finds the persons in key frames; None for the detector of the estimator.
        is_key: See `KeyRule`.
        times: The time spent is added here.

    Yields:
        (video, poses of the next frame), and (video, None) at the end of a video. Every `RESTART_SECONDS`, persons are
        found afresh; see `restarts`.
    """
    open_videos: dict[Video, _OpenVideo] = {}
    batch = detector.batch_size if detector is not None else estimator.frame_batch
    keys: list[_Waiting] = []

    def detect() -> None:
        started = perf_counter()
        images = [key.frame.image for key in keys]
        if detector is None:
            found = [one.regions for one in estimator.find(images)]
        else:
            found = [regions_of_boxes(box) for box, _ in detector.detect(images)]
        for key, regions in zip(keys, found, strict=True):
            key.found = regions
        keys.clear()
        times.detect += perf_counter() - started

    def run() -> Iterator[tuple[Video, FramePoses | None]]:
        detect()
        while wave := {video: opened.next_frame() for video, opened in open_videos.items() if opened.line}:
            looks = [_Look(one, head.frame, head.found) for head, followed in wave.values() for one in followed]
            poses = iter(_advance(looks, estimator, detector, times))
            for video, (_, followed) in wave.items():
                counts, *_ = [next(poses) for _ in followed]
                yield video, counts
        for video in [video for video, opened in open_videos.items() if opened.ended]:
            del open_videos[video]
            yield video, None

    for video, frame in frames:
        opened = open_videos.setdefault(video, _OpenVideo(_clock(is_key)))
        if frame is None:
            opened.ended = True
            if not opened.line:
                del open_videos[video]
                yield video, None
            continue
        entry = _Waiting(frame)
        opened.line.append(entry)
        is_key_frame, entry.restarts = opened.clock.add(frame.time)
        if is_key_frame:
            keys.append(entry)
        # Without a key frame in line, frames only wait for others that fill a batch.
        most = MOST_BETWEEN if keys else estimator.persons_per_batch
        if len(keys) >= batch or sum(len(one.line) for one in open_videos.values()) >= most:
            yield from run()
    yield from run()


@dataclass(eq=False)
class _Look:
    """A frame in which persons are looked for; `found` are those that the detector suggests, see `_Waiting`."""

    followed: _Followed
    frame: Frame
    found: Regions | None


def _advance(
    looks: list[_Look], estimator: BlazePoseEstimator, detector: PersonDetector | None, times: StageTimes
) -> list[FramePoses]:
    """Estimate the persons in one frame each of several videos, and move their squares."""
    started = perf_counter()
    lost = [
        look
        for look in looks
        if detector is None
        and estimator.tiles == "auto"
        and look.found is not None
        and not len(look.found)
        and not len(look.followed.people)
        and look.frame.time - look.followed.searched >= SEARCH_PAUSE
    ]
    for look, found in zip(lost, estimator.find_small([look.frame.image for look in lost]), strict=True):
        look.found = found.regions
        if not len(found):
            look.followed.searched = look.frame.time
    times.detect += perf_counter() - started
    started = perf_counter()
    candidates = [_candidates(look.followed.people, look.found, from_boxes=detector is not None) for look in looks]
    poses = []
    for look, marks in zip(looks, estimator.poses([look.frame.image for look in looks], candidates), strict=True):
        look.followed.people = marks.next_regions
        poses.append(frame_poses(look.frame, marks))
    times.network += perf_counter() - started
    return poses


def _candidates(people: Regions, found: Regions | None, *, from_boxes: bool) -> Candidates:
    """Return the persons of the previous frame, and those found who are not among them."""
    if found is None or not len(found):
        return Candidates(people, np.ones(len(people), bool))
    side = np.maximum(people.side[:, None], found.side[None])
    distance = np.linalg.norm(people.centre[:, None] - found.centre[None], axis=-1) / side
    factor = side / np.minimum(people.side[:, None], found.side[None])
    same = (distance < SAME_PERSON_DISTANCE) & (factor < SAME_PERSON_FACTOR)
    rows, columns = linear_sum_assignment(np.where(same, distance, 1.0))
    known = columns[same[rows, columns]]
    fresh = np.setdiff1d(np.arange(len(found)), known)
    tracked = np.arange(len(people) + len(fresh)) < len(people)
    return Candidates(Regions.joined([people, found[fresh]]), tracked, from_boxes)


def frame_poses(frame: Frame, marks: Landmarks) -> FramePoses:
    """Return the persons of a frame as other estimators do."""
    keypoint, score = marks.coco
    return FramePoses(frame.index, frame.time, boxes_of(marks), marks.person.astype(np.float32), keypoint, score)
