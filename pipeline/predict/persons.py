"""Subjects of a prediction: all persons of a clip together, or each person separately."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.extraction import cut
from pose_extraction.poses import PoseTrack, VideoPoses
from recognition.data.stored_joints import seen_of
from recognition.inference.asker import Asker


@dataclass(frozen=True)
class Subject:
    """One person, or all persons, over a range of frames of a video.

    Args:
        person: Track id; None for all persons together.
        annotation: The skeletons in the recognizer's input format.
        track_ids: Ids of the annotation's persons.
        first: Row of the video's frames at which the annotation begins.
        seen: int64 rows of the video's frames in which at least one joint is visible, ascending.
    """

    person: int | None
    annotation: Mapping[str, Any]
    track_ids: tuple[int, ...]
    first: int
    seen: np.ndarray

    def looked_at(self, asker: Asker) -> tuple[int, ...]:
        """Return the ids of the persons that the recognizer uses."""
        return tuple(self.track_ids[row] for row in asker.persons_seen(self.annotation))


def everybody(video: VideoPoses, name: str, threshold: float, *, tracked: bool = True) -> Subject:
    """Return all persons of a video as one subject.

    Args:
        video: The tracks, the most relevant first.
        name: Name for messages.
        threshold: Score above which a joint counts as visible.
        tracked: Whether a person keeps the same identity in all frames.
    """
    return _subject(video, None, name, threshold, 0, tracked)


def each_person(video: VideoPoses, name: str, threshold: float) -> Iterator[Subject]:
    """Yield each person as a subject, over the frames from their first to their last visible joint.

    Args:
        video: The tracks.
        name: Name of the clip, for messages.
        threshold: Score above which a joint counts as visible.
    """
    for track in video.tracks:
        rows = np.flatnonzero((track.keypoint_score > threshold).any(axis=1)) + track.start
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (track.start, track.stop)
        alone = cut(replace(video, tracks=[track]), first, last)
        yield _subject(alone, track.track_id, f"{name}, person {track.track_id}", threshold, first, True)


def _subject(video: VideoPoses, person: int | None, name: str, threshold: float, first: int, tracked: bool) -> Subject:
    keypoint, score, _ = video.dense()
    seen = np.isfinite(keypoint).all(axis=-1)
    score = np.where(seen, score, 0)
    annotation = {
        "frame_dir": name,
        "img_shape": video.size,
        "keypoint": np.where(seen[..., None], keypoint, 0),
        "keypoint_score": score,
    }
    if tracked:
        annotation["track_id"] = np.array([track.track_id for track in video.tracks], np.int64)
    rows = np.flatnonzero((score > threshold).any(axis=(0, 2))) + first
    return Subject(person, annotation, tuple(track.track_id for track in video.tracks), first, rows)


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
    if "time" in annotation:
        time = np.asarray(annotation["time"], np.float64)
    elif annotation.get("fps"):
        time = np.arange(frames) / float(annotation["fps"])
    else:
        raise UsageError(
            f"{place}: has neither timestamps (time) nor a frame rate (fps), which --windows requires; "
            "create the file again with skelpipe, or omit --windows"
        )
    ids = [int(name) for name in annotation.get("track_id", range(persons))]
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
