"""What a prediction classifies: all persons of a clip together, or each person separately."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.predict.options import Scope
from pose_extraction.errors import UsageError
from pose_extraction.extraction import cut
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.clip_arrays import seen_of, track_ids
from pose_extraction.formats.clip_times import times_of
from pose_extraction.poses import PoseTrack, VideoPoses
from recognition.data.clip import Clip
from recognition.inference.clip_predictor import ClipPredictor

# Track id of a person; None for all persons together.
PersonId = int | None


@dataclass(frozen=True)
class PersonClip:
    """The clip of one person, or of all persons together, over a range of frames of a video.

    Args:
        person: Track id; None for all persons together.
        clip: The skeletons.
        track_ids: Ids of the clip's persons.
        first: Row of the video's frames at which the clip begins.
        seen: int64 rows of the video's frames in which at least one joint is visible, ascending.
    """

    person: PersonId
    clip: Clip
    track_ids: tuple[int, ...]
    first: int
    seen: np.ndarray

    def persons_used(self, predictor: ClipPredictor) -> tuple[int, ...]:
        """Return the ids of the persons that the recognizer uses."""
        return tuple(self.track_ids[row] for row in predictor.persons_used(self.clip))


def person_clips(
    video: VideoPoses, scope: Scope, name: str, threshold: float, *, tracked: bool = True, timed: bool = True
) -> Iterator[PersonClip]:
    """Yield the clips to classify: that of all persons together, and those of each person.

    The clip of one person extends from the first to the last frame in which a joint is visible.

    Args:
        video: The tracks, the most relevant first.
        scope: Which of these clips to classify.
        name: Name of the video, for messages.
        threshold: Score above which a joint counts as visible.
        tracked: Whether a person keeps the same identity in all frames.
        timed: Whether the times of the frames are real, rather than numbers of frames.
    """
    if not video.tracks:
        return
    if scope.together:
        yield _person_clip(video, None, name, threshold, 0, tracked, timed)
    for track in video.tracks if scope.persons else ():
        rows = np.flatnonzero((track.keypoint_score > threshold).any(axis=1)) + track.start
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (track.start, track.stop)
        alone = cut(replace(video, tracks=[track]), first, last)
        yield _person_clip(alone, track.track_id, f"{name}, person {track.track_id}", threshold, first, True, timed)


def _person_clip(
    video: VideoPoses, person: PersonId, name: str, threshold: float, first: int, tracked: bool, timed: bool
) -> PersonClip:
    keypoint, score, _ = video.dense()
    score = np.where(np.isfinite(keypoint).all(axis=-1), score, np.float32(0))
    size = video.size if keypoint.shape[-1] == 2 else None
    rows = np.flatnonzero((score > threshold).any(axis=(0, 2))) + first
    ids = tuple(track.track_id for track in video.tracks)
    time = video.time if timed else None
    return PersonClip(person, Clip(name, UNLABELLED, keypoint, score, size, tracked, time), ids, first, rows)


def frame_interval(time: np.ndarray) -> float:
    """Duration of a frame in seconds, from the ascending times (T,) of frames; 0 for a single frame."""
    return float(np.median(np.diff(time))) if len(time) > 1 else 0.0


def video_of(annotation: Mapping[str, Any], place: str) -> VideoPoses:
    """Convert a clip of a skeleton file to poses with timestamps.

    Args:
        annotation: A validated clip. Persons without track ids are numbered by position.
        place: Location of the clip, for the message.

    Raises:
        UsageError: The file contains neither timestamps nor a frame rate.
    """
    keypoint = np.asarray(annotation["keypoint"], np.float32)
    persons, frames = keypoint.shape[:2]
    score = annotation.get("keypoint_score")
    seen_score = seen_of(keypoint).astype(np.float32) if score is None else np.asarray(score, np.float32)
    keypoint = np.where((seen_score > 0)[..., None], keypoint, np.nan)
    time = times_of(annotation, frames)
    if time is None:
        raise UsageError(
            f"{place}: has neither timestamps (time) nor a frame rate (fps) that is usable, which --windows requires; "
            "create the file again with skelpipe, or omit --windows"
        )
    ids = track_ids(annotation)
    tracks = [
        PoseTrack(
            ids[person],
            0,
            keypoint[person],
            seen_score[person],
            np.full((frames, 4), np.nan, np.float32),
            np.zeros(frames, np.float32),
            np.zeros(seen_score.shape[1:], bool),
        )
        for person in range(persons)
    ]
    index = np.asarray(annotation.get("frame_index", np.arange(frames)), np.int64)
    height, width = annotation["img_shape"] if keypoint.shape[-1] == 2 else (0, 0)
    return VideoPoses(index, time, (int(height), int(width)), tracks)
