"""Run an estimator that follows persons from frame to frame on the frames of many videos, in shared batches.

A person is looked at in a square that follows from the landmarks of the previous frame, so the frames of a video are
processed one after the other; persons, and frames of other videos, share a batch. As in `streaming`, the results of a
video do not depend on other videos in the batch.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.networks.blazepose.estimator import BlazePoseEstimator, Candidates, boxes_of
from pose_extraction.networks.blazepose.landmarks import Landmarks
from pose_extraction.networks.blazepose.regions import Regions, regions_of_boxes
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.poses import FramePoses
from pose_extraction.streaming import MOST_BETWEEN, KeyRule, StageTimes, Video
from pose_extraction.video.reader import Frame

# Squares of one person: their centres differ by less than this fraction of the side, and their sides by less than this
# factor.
SAME_PERSON_DISTANCE, SAME_PERSON_FACTOR = 0.16, 1.6
# After a search of all tiles that finds nobody, seconds of video until the next one.
SEARCH_PAUSE = 1.0


@dataclass(eq=False)
class _Waiting:
    """A frame in the pipeline; `found` are the squares that the detector suggests, None unless it is a key frame."""

    frame: Frame
    found: Regions | None = None


@dataclass(eq=False)
class _OpenVideo:
    """State of a video.

    Args:
        line: Frames that wait, in order.
        times: Times in seconds of the last key frame and of the frames since then.
        people: The squares of the persons in the frame before the first one in `line`, for that frame.
        searched: Time in seconds of the last search of all tiles that found nobody.
        ended: Whether the last frame has arrived.
    """

    line: deque[_Waiting] = field(default_factory=deque)
    times: list[float] = field(default_factory=list)
    people: Regions = field(default_factory=Regions.none)
    searched: float = -np.inf
    ended: bool = False


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
        is_key: See `detect_persons`; the first frame of a video is a key frame, too.
        times: The time spent is added here.

    Yields:
        (video, poses of the next frame), and (video, None) at the end of a video.
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
        while wave := {video: opened for video, opened in open_videos.items() if opened.line}:
            heads = [opened.line.popleft() for opened in wave.values()]
            poses = _advance(list(wave.values()), heads, estimator, detector, times)
            yield from zip(wave, poses, strict=True)
        for video in [video for video, opened in open_videos.items() if opened.ended]:
            del open_videos[video]
            yield video, None

    for video, frame in frames:
        opened = open_videos.setdefault(video, _OpenVideo())
        if frame is None:
            opened.ended = True
            if not opened.line:
                del open_videos[video]
                yield video, None
            continue
        entry = _Waiting(frame)
        opened.line.append(entry)
        opened.times.append(frame.time)
        if len(opened.times) == 1 or is_key(opened.times):
            opened.times = [frame.time]
            keys.append(entry)
        # Without a key frame in line, frames only wait for others that fill a batch.
        most = MOST_BETWEEN if keys else estimator.persons_per_batch
        if len(keys) >= batch or sum(len(one.line) for one in open_videos.values()) >= most:
            yield from run()
    yield from run()


def _advance(
    videos: list[_OpenVideo],
    heads: list[_Waiting],
    estimator: BlazePoseEstimator,
    detector: PersonDetector | None,
    times: StageTimes,
) -> list[FramePoses]:
    """Estimate the next frame of some videos."""
    started = perf_counter()
    lost = [
        row
        for row, (opened, head) in enumerate(zip(videos, heads, strict=True))
        if detector is None
        and estimator.tiles == "auto"
        and head.found is not None
        and not len(head.found)
        and not len(opened.people)
        and head.frame.time - opened.searched >= SEARCH_PAUSE
    ]
    for row, found in zip(lost, estimator.find_small([heads[row].frame.image for row in lost]), strict=True):
        heads[row].found = found.regions
        if not len(found):
            videos[row].searched = heads[row].frame.time
    times.detect += perf_counter() - started
    started = perf_counter()
    candidates = [
        _candidates(opened.people, head.found, from_boxes=detector is not None)
        for opened, head in zip(videos, heads, strict=True)
    ]
    poses = []
    for opened, head, marks in zip(
        videos, heads, estimator.poses([head.frame.image for head in heads], candidates), strict=True
    ):
        opened.people = marks.next_regions
        poses.append(frame_poses(head.frame, marks))
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
