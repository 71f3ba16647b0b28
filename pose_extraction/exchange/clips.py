"""A clip in memory between the files of other programs and skeleton files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.exchange.dropping import GIVEN_RATE, GIVEN_SIZE, GIVEN_TIMES

# Assumed for files that hold neither times nor a frame rate.
USUAL_RATE = 30.0
# More numbers than any real clip has: a small file must not be able to ask for all of the memory.
MOST_VALUES = 500_000_000
# Times are those of the frame rate if they differ by less, in seconds.
SAME_TIME = 5e-4


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says about files that do not say it themselves.

    Args:
        fps: Frames per second; None if the files say it.
        size: (height, width) of the frames in pixels; None if the files say it.
        joints: Names of the V joints; None if the files, or the number of joints, say it.
    """

    fps: float | None = None
    size: tuple[int, int] | None = None
    joints: tuple[str, ...] | None = None


@dataclass(slots=True)
class PoseClip:
    """All persons of a clip.

    Args:
        joints: Names of the V joints.
        keypoint: float32 (M, T, V, C) in pixels of the upright frame, or in metres; NaN for unseen joints.
        keypoint_score: float32 (M, T, V) in [0, 1]; 0 for unseen joints.
        frame_index: int64 (T,), numbers of the frames in the source, from 0.
        time: float64 (T,) in seconds.
        fps: Frames per second of the source.
        size: (height, width) of the frame in pixels; None if unknown, or for joints in 3D.
        track_id: int64 (M,).
        name: Name of the clip within its file; empty for the only one.
        imputed: bool (M, T, V), joints that were filled in; None if unknown.
        tracked: Whether the identities come from the file.
        notes: What was assumed in reading it, one sentence each.
        dropped: What its file holds in addition, and a skeleton file does not, see `dropping`.
        video: Path of the video, or of the folder of images, as the file has it; empty if it has none.
    """

    joints: tuple[str, ...]
    keypoint: np.ndarray
    keypoint_score: np.ndarray
    frame_index: np.ndarray
    time: np.ndarray
    fps: float
    size: tuple[int, int] | None
    track_id: np.ndarray
    name: str = ""
    imputed: np.ndarray | None = None
    tracked: bool = True
    notes: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    video: str = ""

    @property
    def num_persons(self) -> int:
        """Number M of persons."""
        return len(self.keypoint)

    @property
    def num_frames(self) -> int:
        """Number T of frames."""
        return len(self.time)

    @property
    def seen(self) -> np.ndarray:
        """Mask (M, T, V) of the joints that were seen."""
        return np.isfinite(self.keypoint).all(axis=-1)

    @property
    def is_regular(self) -> bool:
        """Whether the times are those of the frame numbers at the frame rate."""
        return bool(np.abs(self.time - self.frame_index / self.fps).max(initial=0.0) < SAME_TIME)

    def persons_at(self, row: int) -> list[int]:
        """Return the persons with at least one joint in a frame."""
        return np.flatnonzero(self.seen[:, row].any(axis=-1)).tolist()

    def box(self) -> np.ndarray:
        """Return the boxes around the seen joints, float (M, T, 4): x1, y1, x2, y2; NaN without joints."""
        plane = self.keypoint[..., :2]
        low = np.where(np.isnan(plane), np.inf, plane).min(axis=2)
        high = np.where(np.isnan(plane), -np.inf, plane).max(axis=2)
        box = np.concatenate([low, high], axis=-1)
        return np.where(np.isfinite(box).all(axis=-1, keepdims=True), box, np.nan)

    def mean_score(self) -> np.ndarray:
        """Return the mean score of the seen joints of each pose, float (M, T); 0 without joints."""
        seen = self.seen
        return np.where(seen, self.keypoint_score, 0).sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1)


def new_clip(
    joints: Sequence[str],
    keypoint: np.ndarray,
    score: np.ndarray | None,
    *,
    place: str,
    given: Given,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    time: np.ndarray | None = None,
    frame_index: np.ndarray | None = None,
    track_id: np.ndarray | None = None,
    name: str = "",
) -> PoseClip:
    """Create a clip from what a file holds; what it lacks is taken from the user, or assumed with a note.

    Args:
        joints: Names of the V joints.
        keypoint: (M, T, V, C), NaN for unseen joints.
        score: (M, T, V); a joint with score 0 or NaN is unseen. None if the file has no scores.
        place: The file, for messages.
        given: What the user says; it decides where the file says something else, too.
        fps: Frames per second in the file.
        size: (height, width) in the file.
        time: Seconds of each frame (T,) in the file.
        frame_index: Number of each frame (T,); None for 0 to T - 1.
        track_id: Identities (M,); None for 0 to M - 1.
        name: Name of the clip within the file.

    Raises:
        AnnotationError: The shapes do not agree, times decrease, or the frame rate is not positive.
    """
    keypoint = np.asarray(keypoint, np.float32)
    if keypoint.ndim != 4 or keypoint.shape[2] != len(joints) or keypoint.shape[3] not in (2, 3):
        raise AnnotationError(
            f"{place}: has joints of shape {keypoint.shape} for {len(joints)} names of joints; the file is damaged, or "
            "give the right layout with --joints"
        )
    notes: list[str] = []
    seen = np.isfinite(keypoint).all(axis=-1)
    if score is None:
        score = seen.astype(np.float32)
    score = np.nan_to_num(np.asarray(score, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    if (score > 1).any():
        notes.append(f"scores are up to {float(score.max()):.3g}; those above 1 are read as 1")
        score = np.minimum(score, np.float32(1))
    seen &= score > 0
    frames = keypoint.shape[1]
    index = np.arange(frames, dtype=np.int64) if frame_index is None else np.asarray(frame_index, np.int64)
    dropped = _replaced_timing(given.fps, fps, time, index)
    if None not in (size, given.size) and size != given.size:
        dropped.add(GIVEN_SIZE)
    fps, time = _timing(given.fps, fps, time, index, place, notes)
    ids = np.arange(len(keypoint), dtype=np.int64) if track_id is None else np.asarray(track_id, np.int64)
    return PoseClip(
        tuple(joints),
        np.where(seen[..., None], keypoint, np.float32(np.nan)),
        np.where(seen, score, np.float32(0)),
        index,
        time,
        fps,
        None if keypoint.shape[3] == 3 else given.size or size,
        ids,
        name,
        notes=notes,
        dropped=dropped,
    )


def clip_without_persons(name: str, video: str = "") -> PoseClip:
    """Return a clip of a file with several ones, in which nobody was found."""
    nothing = np.zeros((0, 0, 0, 2), np.float32)
    frames = np.zeros(0, np.int64)
    return PoseClip(
        (), nothing, nothing[..., 0], frames, frames.astype(np.float64), USUAL_RATE, None, frames, name, video=video
    )


def _replaced_timing(wanted: float | None, fps: float | None, time: np.ndarray | None, index: np.ndarray) -> set[str]:
    """Return what a frame rate that the user gives replaces in a file."""
    if wanted is None:
        return set()
    if time is not None and np.shape(time) == index.shape:
        return {GIVEN_TIMES} if (np.abs(time - index / wanted) > SAME_TIME).any() else set()
    return {GIVEN_RATE} if fps is not None and fps != wanted else set()


def _timing(
    wanted: float | None,
    fps: float | None,
    time: np.ndarray | None,
    index: np.ndarray,
    place: str,
    notes: list[str],
) -> tuple[float, np.ndarray]:
    """Return the frame rate, and the seconds of each frame."""
    if wanted is not None:
        return wanted, index / wanted
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise AnnotationError(f"{place}: has {fps} frames per second; give the true rate with --fps")
    if time is not None:
        time = np.asarray(time, np.float64)
        if time.shape != index.shape or not np.isfinite(time).all() or (np.diff(time) <= 0).any():
            raise AnnotationError(f"{place}: its times do not increase from frame to frame; give the rate with --fps")
        return fps or rate_of(time, index), time
    if fps is None:
        notes.append(f"it has neither times nor a frame rate; {USUAL_RATE:g} frames per second are assumed (--fps)")
        fps = USUAL_RATE
    return fps, index / fps


def rate_of(time: np.ndarray, index: np.ndarray) -> float:
    """Return the frames per second of a source, from the times (T,) and numbers (T,) of some of its frames."""
    if len(time) < 2:
        return USUAL_RATE
    return float(1 / np.median(np.diff(time) / np.maximum(np.diff(index), 1)))


def check_count(values: int, place: str) -> None:
    """Refuse a clip with more numbers than real ones have.

    Raises:
        AnnotationError: It has.
    """
    if values > MOST_VALUES:
        raise AnnotationError(
            f"{place}: holds {values:,} numbers (persons x frames x joints), more than {MOST_VALUES:,}; it is damaged, "
            "or split it into shorter clips"
        )


def number_persons(names: Sequence[object]) -> np.ndarray:
    """Return a number for each name of a person, int64 (M,): the one that it ends with, if these differ."""
    ends = [str(name)[len(str(name).rstrip("0123456789")) :] for name in names]
    numbers = [int(end) if end and len(end) < 10 else -1 for end in ends]
    if -1 in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(names)))
    return np.array(numbers, np.int64)


def as_seconds(value: object) -> float | None:
    """Return a time that a file may hold next to its frames; None if there is no usable one."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def times_from(found: Mapping[int, float | None], index: np.ndarray) -> np.ndarray | None:
    """Return the seconds of frames (T,), in between interpolated; None unless the first and the last one are known.

    Args:
        found: Seconds by number of the frame.
        index: Numbers of the frames (T,), ascending.
    """
    known = {number: time for number, time in found.items() if time is not None}
    if not len(index) or int(index[0]) not in known or int(index[-1]) not in known:
        return None
    numbers = sorted(known)
    return np.interp(index, numbers, [known[number] for number in numbers])
