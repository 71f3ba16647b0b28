"""One raw clip in memory, whether it comes from a skeleton file or from arrays, and the format that clips share."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.joint_values import MOST_SCORE, has_shares
from pose_extraction.formats.third_channel import PIXELS
from pose_extraction.skeleton import Skeleton

# Assumed frames per second of clips without times.
UNKNOWN_RATE = 30.0


@dataclass(frozen=True)
class Clip:
    """One raw clip.

    Args:
        name: Id of the clip, for messages and results.
        label: Class number; -1 for unlabelled clips.
        keypoint: float32 (M, T, V, D), pixels in 2D and any unit in 3D; NaN where a joint was not seen.
        score: float32 (M, T, V), 0 where a joint was not seen.
        size: (height, width) of the frame in pixels; None in 3D.
        tracked: Whether each slot contains the same person in all frames, as in files of `skelpipe extract`.
        time: float64 (T,), ascending times of the frames in seconds; None if they are not known.
    """

    name: str
    label: int
    keypoint: np.ndarray
    score: np.ndarray
    size: tuple[int, int] | None
    tracked: bool = False
    time: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        """Number T of frames."""
        return self.score.shape[1]

    @property
    def seconds(self) -> np.ndarray:
        """Times of the frames in seconds, float64 (T,); without known times, those of `UNKNOWN_RATE`."""
        return np.arange(self.num_frames) / UNKNOWN_RATE if self.time is None else self.time

    def above(self, threshold: float) -> "Clip":
        """Return the clip in which joints with a score up to `threshold`, in [0, 1], count as not seen."""
        unseen = ~(self.score > threshold)
        keypoint, score = self.keypoint.astype(np.float32), self.score.astype(np.float32)
        keypoint[unseen] = np.nan
        score[unseen] = 0
        return replace(self, keypoint=keypoint, score=score)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that was left out.

    Args:
        name: The clip's id in the file.
        reason: Error message, one sentence.
        splits: Names of the splits that contain it.
        label: Class number if `empty`; otherwise -1, because the label itself may be wrong.
        empty: Whether the only error is that the clip shows no person.
    """

    name: str
    reason: str
    splits: frozenset[str]
    label: int
    empty: bool


@dataclass(frozen=True)
class ClipFormat:
    """Format of the clips of one source.

    Args:
        path: The source, for messages.
        layout: Joint layout.
        dimensions: Coordinates per joint, 2 or 3.
    """

    path: Path
    layout: Skeleton
    dimensions: int = 2


def clip_from_arrays(
    keypoint: np.ndarray,
    score: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    *,
    name: str = "clip",
    tracked: bool = True,
    time: np.ndarray | None = None,
) -> Clip:
    """Create an unlabelled clip from arrays.

    Args:
        keypoint: (M, T, V, D), or (T, V, D) for one person; D = 2 in pixels or D = 3 in any unit. NaN where a joint was
            not seen.
        score: (M, T, V), or (T, V), in [0, 1]; None: 1 where a joint was seen.
        size: (height, width) of the frame in pixels; required in 2D, unused in 3D.
        name: Id of the clip, for messages.
        tracked: Whether each slot contains the same person in all frames.
        time: (T,), ascending times of the frames in seconds; None if they are not known.

    Raises:
        UsageError: Shapes do not match, coordinates are infinite, times do not ascend, or a 2D clip has no valid size.
    """
    keypoint = np.asarray(keypoint, np.float32)
    keypoint = keypoint[None] if keypoint.ndim == 3 else keypoint
    if keypoint.ndim != 4 or keypoint.shape[-1] not in (2, 3) or not keypoint.shape[1]:
        raise UsageError(
            f"{name}: keypoint has shape {keypoint.shape}; it must be (persons, frames, joints, 2 or 3) with at least "
            "one frame"
        )
    if np.isinf(keypoint).any():
        raise UsageError(f"{name}: keypoint contains infinite coordinates; use NaN for joints that were not seen")
    seen = np.isfinite(keypoint).all(axis=-1)
    if score is None:
        score = seen.astype(np.float32)
    score = np.asarray(score, np.float32)
    score = score[None] if score.ndim == 2 else score
    if score.shape != seen.shape:
        raise UsageError(f"{name}: score has shape {score.shape}, but keypoint has scores of shape {seen.shape}")
    if keypoint.shape[-1] == 3:
        size = None
    elif size is None or len(size) != 2 or min(size) <= 0:
        raise UsageError(f"{name}: size is {size}; 2D joints require the (height, width) of the frame in pixels")
    else:
        size = (int(size[0]), int(size[1]))
    score = np.where(seen & (score > 0), score, np.float32(0))
    if time is not None:
        time = np.asarray(time, np.float64)
        if time.shape != score.shape[1:2] or not np.isfinite(time).all() or (np.diff(time) <= 0).any():
            raise UsageError(f"{name}: time must contain {score.shape[1]} finite, ascending times in seconds")
    return Clip(name, UNLABELLED, keypoint, score, size, tracked, time)


def refuse_other_units(clip: Clip) -> None:
    """Refuse a clip of a user whose joints are shares of the frame, or whose scores are clearly above 1.

    Scores below 0 mark joints that were not seen, like 0.

    Raises:
        UsageError: The message names the value and the fix.
    """
    highest = float(clip.score.max(initial=0))
    # Peaks of heat maps exceed 1 a little.
    if highest > MOST_SCORE:
        raise UsageError(
            f"{clip.name}: score is up to {highest:.4g}, but must be from 0 to 1; divide it by the largest score that "
            "the estimator gives"
        )
    seen = np.where((clip.score > 0)[..., None], clip.keypoint, np.float32(0))
    if clip.size is not None and min(clip.size) >= PIXELS and has_shares(seen):
        height, width = clip.size
        raise UsageError(
            f"{clip.name}: keypoint is up to {float(seen.max()):.2f}, but must be in pixels; multiply x by {width} and "
            f"y by {height}"
        )
