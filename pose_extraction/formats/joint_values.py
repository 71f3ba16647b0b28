"""What the numbers of the joints in a skeleton file mean, decided from the content of the whole file.

Files of other programs store scores as a third channel, coordinates as shares of the frame, sizes as (width, height),
or scores in other units. If the content allows one reading only, it is converted; otherwise the file is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError

# Largest height or width of a frame.
MOST_SIDE = 1_000_000
# Pixels: larger than any coordinate in metres or shares of the frame.
PIXELS = 20.0
# Interpolation of heat maps exceeds 1 by less than this.
MOST_SCORE = 1.2
PERCENT = 100.0
# Coordinates that are shares of the frame reach at least the first share, and may lie the second one outside.
LEAST_SHARE = 0.1
OUTSIDE_SHARE = 0.5
# Width and height are swapped if more than the first share of joints is outside the frame, and less than the second if
# they are exchanged.
MANY_OUTSIDE, FEW_OUTSIDE = 0.05, 0.005


def joint_arrays(clip: dict[str, Any]) -> None:
    """Give the joints of a clip the form (M, T, V, C) of floats, in place, if their form is unambiguous.

    Lists and whole numbers become arrays of floats, and a single person gets the axis M. In a joint that was not seen,
    NaN becomes 0, with score 0.
    """
    for name in ("keypoint", "keypoint_score"):
        value = clip.get(name)
        if isinstance(value, list | tuple):
            try:
                with np.errstate(over="ignore"):
                    clip[name] = np.asarray(value, np.float32)
            except (OverflowError, TypeError, ValueError):
                return
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            clip[name] = value.astype(np.float32)
    keypoint, score = clip.get("keypoint"), clip.get("keypoint_score")
    if not isinstance(keypoint, np.ndarray) or keypoint.dtype.kind != "f":
        return
    frames = clip.get("total_frames", keypoint.shape[0] if keypoint.ndim else 0)
    if keypoint.ndim == 3 and isinstance(frames, int) and keypoint.shape[0] == frames:
        clip["keypoint"] = keypoint = keypoint[None]
    if isinstance(score, np.ndarray):
        if score.ndim == 4 and score.shape[3] == 1:
            score = score[..., 0]
        # Only scores that then fit; a message about others shows the shape that they have.
        if keypoint.ndim == 4 and score.shape == keypoint.shape[1:3]:
            score = score[None]
        clip["keypoint_score"] = score
    if keypoint.ndim == 4:
        _clear_unseen(clip)


def _clear_unseen(clip: dict[str, Any]) -> None:
    keypoint, score = clip["keypoint"], clip.get("keypoint_score")
    absent = np.isnan(keypoint).any(axis=-1)
    if isinstance(score, np.ndarray) and score.dtype.kind == "f" and score.shape == absent.shape:
        absent |= np.isnan(score)
    if not absent.any():
        return
    if not isinstance(score, np.ndarray):
        # In 3D, the origin is a position like any other, so zeros alone would not mean that a joint was not seen.
        seen = (keypoint != 0).any(axis=-1)
        score = np.broadcast_to(seen.any(axis=-1, keepdims=True) if keypoint.shape[-1] == 3 else seen, seen.shape)
        score = score.astype(np.float32)
    if score.shape == absent.shape:
        clip["keypoint"] = np.where(absent[..., None], keypoint.dtype.type(0), keypoint)
        clip["keypoint_score"] = np.where(absent, score.dtype.type(0), score)


def convert_joints(clips: Sequence[Any], path: Path) -> list[str]:
    """Convert the joints of all clips to pixels and scores in [0, 1], in place.

    Args:
        clips: Annotations with arrays as returned by `joint_arrays`; malformed ones are left for the validation.
        path: The file, for messages.

    Returns:
        One sentence for each conversion.

    Raises:
        AnnotationError: The numbers have no certain meaning; the message names the fix.
    """
    usable = [clip for clip in clips if isinstance(clip, dict) and _is_usable(clip)]
    notes = _split_scores(usable)
    flat = [clip for clip in usable if clip["keypoint"].shape[3] == 2 and is_size(clip.get("img_shape"))]
    notes += _convert_scores(usable, path)
    notes += _convert_shares(flat, path)
    return notes + _convert_sizes(flat)


def _is_usable(clip: dict[str, Any]) -> bool:
    keypoint, score = clip.get("keypoint"), clip.get("keypoint_score")
    if not isinstance(keypoint, np.ndarray) or keypoint.ndim != 4 or keypoint.dtype.kind != "f" or not keypoint.size:
        return False
    if score is not None and (not isinstance(score, np.ndarray) or score.shape != keypoint.shape[:3]):
        return False
    return keypoint.shape[3] in (2, 3)


def _split_scores(clips: Sequence[dict[str, Any]]) -> list[str]:
    """Take a third channel as scores, if it is one in every clip."""
    solid = [clip for clip in clips if clip["keypoint"].shape[3] == 3]
    if not solid or any("keypoint_score" in clip or clip.get("img_shape") is None for clip in solid):
        return []
    if not all(_in_unit(clip["keypoint"][..., 2]) for clip in solid):
        return []
    if max(float(np.abs(clip["keypoint"][..., :2]).max()) for clip in solid) < PIXELS:
        return []
    for clip in solid:
        keypoint = clip["keypoint"]
        clip["keypoint"], clip["keypoint_score"] = keypoint[..., :2], keypoint[..., 2]
    return ["the third channel of the joints is in [0, 1], so it is read as their scores: 2D, not 3D"]


def _in_unit(values: np.ndarray) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1.0 + 1e-3)


def _convert_scores(clips: Sequence[dict[str, Any]], path: Path) -> list[str]:
    scored = [clip for clip in clips if clip.get("keypoint_score") is not None]
    scored = [clip for clip in scored if clip["keypoint_score"].dtype.kind == "f"]
    if not scored:
        return []
    largest = max(scored, key=lambda clip: float(clip["keypoint_score"].max()))
    highest = float(largest["keypoint_score"].max())
    lowest = min(float(clip["keypoint_score"].min()) for clip in scored)
    if highest == lowest and len(scored) == len(clips) and all(clip["keypoint"].shape[3] == 2 for clip in clips):
        return _without_constant_scores(scored, highest)
    if highest <= MOST_SCORE:
        return []
    if PERCENT / 2 < highest <= PERCENT:
        for clip in scored:
            clip["keypoint_score"] = clip["keypoint_score"].astype(np.float32) / np.float32(PERCENT)
        return [f"scores are up to {highest:g}, so they are read as percent"]
    raise AnnotationError(
        f"{path}: clip {largest.get('frame_dir')!r} has a score of {highest:.4g} in 'keypoint_score', but scores are "
        "from 0 to 1; divide all scores by the largest one that the estimator gives"
    )


def _without_constant_scores(clips: Sequence[dict[str, Any]], value: float) -> list[str]:
    """Ignore scores that contradict joints at (0, 0), which then count as not seen; otherwise keep them."""
    if all(clip["keypoint"].any(axis=-1).all() for clip in clips):
        return []
    if not any(clip["keypoint"].any() for clip in clips):
        return []
    for clip in clips:
        del clip["keypoint_score"]
    return [f"all scores are {value:g} and are ignored; joints at (0, 0) count as not seen"]


def _convert_shares(clips: Sequence[dict[str, Any]], path: Path) -> list[str]:
    """Convert coordinates from 0 to 1 into pixels."""
    if not clips:
        return []
    highest = max(float(clip["keypoint"].max()) for clip in clips)
    lowest = min(float(clip["keypoint"].min()) for clip in clips)
    if max(highest, -lowest) > 1 + OUTSIDE_SHARE or highest < LEAST_SHARE or highest == lowest:
        return []
    if min(min(clip["img_shape"]) for clip in clips) < PIXELS:
        return []
    if lowest < -0.05:
        raise AnnotationError(
            f"{path}: coordinates in 'keypoint' are from {lowest:.2f} to {highest:.2f}, which are not pixels; multiply "
            "them by the size of the frame, and add its centre if they are relative to it"
        )
    for clip in clips:
        height, width = clip["img_shape"]
        clip["keypoint"] = clip["keypoint"].astype(np.float32) * np.array([width, height], np.float32)
    return [f"coordinates are up to {highest:.2f}, so they are read as shares of the frame and multiplied by its size"]


def is_size(size: Any) -> bool:
    """Return whether a value is a possible (height, width) of a frame in pixels."""
    return (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MOST_SIDE for side in size)
    )


def _convert_sizes(clips: Sequence[dict[str, Any]]) -> list[str]:
    """Exchange width and height of the frame if the joints then fit into it, and otherwise do not."""
    sized = [clip for clip in clips if clip["img_shape"][0] != clip["img_shape"][1]]
    seen = outside = outside_swapped = 0
    for clip in sized:
        x, y = (clip["keypoint"][..., axis] for axis in (0, 1))
        height, width = clip["img_shape"]
        seen += int(((x != 0) | (y != 0)).sum())
        # Not in half precision, which is too coarse for large frames.
        right, below = x.astype(np.float32), y.astype(np.float32)
        outside += int(((right > width) | (below > height)).sum())
        outside_swapped += int(((right > height) | (below > width)).sum())
    if not seen or outside <= MANY_OUTSIDE * seen:
        return []
    text = f"{outside / seen:.0%} of the joints are outside the frame"
    if outside_swapped > FEW_OUTSIDE * seen:
        return [f"{text}; check img_shape, which is (height, width)"]
    for clip in sized:
        clip["img_shape"] = clip["img_shape"][::-1]
    return [f"{text}, but none if width and height are exchanged: img_shape is read as (width, height)"]
