"""What the numbers of the joints in a skeleton file mean, decided from the content of the whole file.

Files of other programs store coordinates as shares of the frame, sizes as (width, height), or scores in other units.
If the content allows one reading only, it is converted; otherwise the file is refused. `third_channel` decides what a
third number per joint means.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_arrays import is_size
from pose_extraction.formats.third_channel import PERCENT, PIXELS, is_flags, split_third_channel
from pose_extraction.video.notes import Note

# Interpolation of heat maps goes beyond 0 and 1 by less than this.
LEAST_SCORE, MOST_SCORE = -0.2, 1.2
# Mark of some programs for a joint that was not seen.
UNSEEN = -1.0
# Coordinates that are shares of the frame reach at least the first share, and may lie the second one outside.
LEAST_SHARE = 0.1
OUTSIDE_SHARE = 0.5
# Width and height are swapped if more than the first share of joints is outside the frame, and less than the second if
# they are exchanged.
MANY_OUTSIDE, FEW_OUTSIDE = 0.05, 0.005
# Share of the joints of a clip outside its frame from which on the size is doubtful.
MANY_OUTSIDE_CLIP = 0.1
# Fewest joints of a clip whose coordinates are shares of the frame, in a file with pixels. No people are that small.
FEWEST_JOINTS = 8


def joint_arrays(clip: dict[str, Any]) -> None:
    """Give the joints of a clip the form (M, T, V, C) of floats, in place, if their form is unambiguous.

    Lists, whole numbers and scores that are true or false become arrays of floats, and a single person gets the axis M.
    """
    for name in ("keypoint", "keypoint_score"):
        value = clip.get(name)
        if isinstance(value, list | tuple):
            try:
                with np.errstate(over="ignore"):
                    clip[name] = np.asarray(value, np.float32)
            except (OverflowError, TypeError, ValueError):
                return
        elif isinstance(value, np.ndarray) and value.dtype.kind in ("iu" if name == "keypoint" else "iub"):
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


def _clear_unseen(clip: dict[str, Any]) -> None:
    """Replace NaN in a joint that was not seen by 0, with score 0."""
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


def convert_joints(clips: Sequence[Any], path: Path) -> list[Note]:
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
    # Before unseen joints get a score, which would make a third channel depth.
    notes = split_third_channel(usable, path)
    for clip in usable:
        _clear_unseen(clip)
    # The validation refuses infinite values.
    usable = [clip for clip in usable if _is_finite(clip)]
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


def _is_finite(clip: dict[str, Any]) -> bool:
    arrays = (clip["keypoint"], clip.get("keypoint_score"))
    return all(array is None or array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays)


def _convert_scores(clips: Sequence[dict[str, Any]], path: Path) -> list[Note]:
    scored = [clip for clip in clips if clip.get("keypoint_score") is not None]
    scored = [clip for clip in scored if clip["keypoint_score"].dtype.kind == "f"]
    if not scored:
        return []
    notes = _convert_negative(scored, path) + _convert_large(scored, path)
    highest = max(float(clip["keypoint_score"].max()) for clip in scored)
    lowest = min(float(clip["keypoint_score"].min()) for clip in scored)
    if highest == lowest and len(scored) == len(clips) and all(clip["keypoint"].shape[3] == 2 for clip in clips):
        notes += _without_constant_scores(scored, highest)
    return notes


def _convert_negative(clips: Sequence[dict[str, Any]], path: Path) -> list[Note]:
    """Replace marks of unseen joints by 0."""
    for clip in clips:
        score = clip["keypoint_score"]
        lowest = float(score.min(where=score != UNSEEN, initial=0))
        # Without a score above 0, nobody is seen, whatever the others mean.
        if lowest < LEAST_SCORE and (score > 0).any():
            raise AnnotationError(
                f"{path}: clip {clip.get('frame_dir')!r} has a score of {lowest:.4g} in 'keypoint_score', but scores "
                "are from 0 to 1; convert them to probabilities"
            )
    marked = [clip for clip in clips if (clip["keypoint_score"] == UNSEEN).any()]
    for clip in marked:
        clip["keypoint_score"] = np.where(clip["keypoint_score"] == UNSEEN, 0, clip["keypoint_score"])
    return [Note(f"joints with the score {UNSEEN:g} count as not seen")] if marked else []


def _convert_large(clips: Sequence[dict[str, Any]], path: Path) -> list[Note]:
    """Convert flags and percent into scores up to 1."""
    largest = max(clips, key=lambda clip: float(clip["keypoint_score"].max()))
    highest = float(largest["keypoint_score"].max())
    if highest <= MOST_SCORE:
        return []
    if all(is_flags(clip["keypoint_score"]) for clip in clips):
        for clip in clips:
            clip["keypoint_score"] = (clip["keypoint_score"] > 0).astype(np.float32)
        return [Note("scores are 0, 1 or 2, so they are read as COCO's visibility")]
    if not PERCENT / 2 < highest <= PERCENT:
        raise AnnotationError(
            f"{path}: clip {largest.get('frame_dir')!r} has a score of {highest:.4g} in 'keypoint_score', but scores "
            "are from 0 to 1; divide all scores by the largest one that the estimator gives"
        )
    for clip in clips:
        if 0 < float(clip["keypoint_score"].max()) <= 1:
            raise AnnotationError(
                f"{path}: clip {largest.get('frame_dir')!r} has scores up to {highest:.4g} in 'keypoint_score', but "
                f"clip {clip.get('frame_dir')!r} only up to {float(clip['keypoint_score'].max()):.4g}; divide those in "
                "percent by 100"
            )
    for clip in clips:
        clip["keypoint_score"] = clip["keypoint_score"].astype(np.float32) / np.float32(PERCENT)
    return [Note(f"scores are up to {highest:g}, so they are read as percent", "scores are read as percent")]


def _without_constant_scores(clips: Sequence[dict[str, Any]], value: float) -> list[Note]:
    """Ignore scores that contradict joints at (0, 0), which then count as not seen; otherwise keep them."""
    if all(clip["keypoint"].any(axis=-1).all() for clip in clips):
        return []
    if not any(clip["keypoint"].any() for clip in clips):
        return []
    for clip in clips:
        del clip["keypoint_score"]
    text = "are ignored; joints at (0, 0) count as not seen"
    return [Note(f"all scores are {value:g} and {text}", f"scores that are all the same {text}")]


def _convert_shares(clips: Sequence[dict[str, Any]], path: Path) -> list[Note]:
    """Convert coordinates from 0 to 1 into pixels."""
    if not clips:
        return []
    highest = max(float(clip["keypoint"].max()) for clip in clips)
    lowest = min(float(clip["keypoint"].min()) for clip in clips)
    if min(min(clip["img_shape"]) for clip in clips) < PIXELS:
        return []
    if _is_shares(lowest, highest):
        _multiply_by_size(clips, lowest, highest, path)
        text = "read as shares of the frame and multiplied by its size"
        return [Note(f"coordinates are up to {highest:.2f}, so they are {text}", f"coordinates are {text}")]
    own = [clip for clip in clips if has_shares(clip["keypoint"])]
    if not own:
        return []
    for clip in own:
        _multiply_by_size([clip], float(clip["keypoint"].min()), float(clip["keypoint"].max()), path)
    text = "coordinates up to 1, unlike the others, are read as shares of the frame and multiplied by its size"
    return [Note(f"{_named(own)}: {text}", text)]


def _named(clips: Sequence[dict[str, Any]]) -> str:
    first = f"{clips[0].get('frame_dir')!r}"
    return f"clip {first}" if len(clips) == 1 else f"{len(clips)} clips (the first: {first})"


def _is_shares(lowest: float, highest: float) -> bool:
    return max(highest, -lowest) <= 1 + OUTSIDE_SHARE and highest >= LEAST_SHARE and highest != lowest


def has_shares(keypoint: np.ndarray) -> bool:
    """Return whether there are enough joints to tell shares of the frame from pixels next to its corner.

    Args:
        keypoint: (M, T, V, 2), (0, 0) where a joint was not seen.
    """
    seen = len(np.unique(keypoint[keypoint.any(axis=-1)], axis=0))
    return seen >= FEWEST_JOINTS and _is_shares(float(keypoint.min()), float(keypoint.max()))


def _multiply_by_size(clips: Sequence[dict[str, Any]], lowest: float, highest: float, path: Path) -> None:
    if lowest < -0.05:
        raise AnnotationError(
            f"{path}: coordinates in 'keypoint' are from {lowest:.2f} to {highest:.2f}, which are not pixels; multiply "
            "them by the size of the frame, and add its centre if they are relative to it"
        )
    for clip in clips:
        height, width = clip["img_shape"]
        clip["keypoint"] = clip["keypoint"].astype(np.float32) * np.array([width, height], np.float32)


def _convert_sizes(clips: Sequence[dict[str, Any]]) -> list[Note]:
    """Exchange width and height of the frame if the joints of all clips then fit into it, and otherwise do not."""
    sized = [clip for clip in clips if clip["img_shape"][0] != clip["img_shape"][1]]
    counts = np.array([_outside(clip) for clip in sized]).reshape(-1, 3)
    seen, outside, outside_swapped = counts.sum(axis=0)
    if seen and outside > MANY_OUTSIDE * seen and outside_swapped <= FEW_OUTSIDE * seen:
        for clip in sized:
            clip["img_shape"] = clip["img_shape"][::-1]
        kind = "joints are in the frame only if width and height are exchanged: img_shape is read as (width, height)"
        text = f"{outside / seen:.0%} of the joints are outside the frame, but none if width and height are exchanged"
        return [Note(f"{text}: img_shape is read as (width, height)", kind)]
    wrong = [clip for clip, (own, off, _) in zip(sized, counts, strict=True) if off > max(MANY_OUTSIDE_CLIP * own, 1)]
    if not wrong:
        return []
    text = "many joints are outside the frame; check img_shape, which is (height, width)"
    return [Note(f"{_named(wrong)}: {text}", text)]


def _outside(clip: dict[str, Any]) -> tuple[int, int, int]:
    """Return the numbers of joints, of those right of or below the frame, and of the same for an exchanged frame."""
    # Not in half precision, which is too coarse for large frames.
    x, y = (clip["keypoint"][..., axis].astype(np.float32) for axis in (0, 1))
    height, width = clip["img_shape"]
    return (
        int(((x != 0) | (y != 0)).sum()),
        int(((x > width) | (y > height)).sum()),
        int(((x > height) | (y > width)).sum()),
    )
