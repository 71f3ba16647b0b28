"""What a third number per joint means: a score, a visibility flag, nothing, or depth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import AnnotationError
from pose_extraction.formats.clip_arrays import is_size
from pose_extraction.video.notes import Note

# Pixels: larger than any coordinate in metres or shares of the frame.
PIXELS = 20.0
# Largest score in percent. Larger numbers next to pixels are depth.
PERCENT = 100.0
# Visibility in COCO: not labelled, labelled but not visible, visible.
FLAGS = (0, 1, 2)
# Half precision rounds scores to this.
ROUNDING = 1e-3


def is_flags(values: np.ndarray) -> bool:
    """Return whether all values, of any shape, are COCO's visibility flags (0, 1 or 2), or missing (NaN)."""
    return bool((np.isin(values, FLAGS) | np.isnan(values)).all())


def split_third_channel(clips: Sequence[dict[str, Any]], path: Path) -> list[Note]:
    """Take a third channel next to x and y in pixels as scores or flags, in place, if it cannot be depth.

    Args:
        clips: Annotations with arrays of valid shapes; joints may contain NaN.
        path: The file, for messages.

    Returns:
        One sentence for each conversion.

    Raises:
        AnnotationError: It may be scores as well as depth, or contradicts the scores; the message names the fix.
    """
    solid = [clip for clip in clips if clip["keypoint"].shape[3] == 3]
    if not solid:
        return []
    thirds = [clip["keypoint"][..., 2] for clip in solid]
    lowest = min(float(np.nanmin(third, initial=np.inf)) for third in thirds)
    highest = max(float(np.nanmax(third, initial=-np.inf)) for third in thirds)
    has_scores = any(clip.get("keypoint_score") is not None for clip in solid)
    if max(float(np.nanmax(np.abs(clip["keypoint"][..., :2]), initial=0)) for clip in solid) < PIXELS:
        if not has_scores and lowest >= 0 and highest <= 1 + ROUNDING:
            _refuse_shares(solid, path)
        return []
    if lowest == highest == 0:
        # Without a size of the frame, it may be a plane in space.
        return _drop(solid) if all(_has_size(clip) for clip in solid) else []
    if all(map(is_flags, thirds)) and highest == max(FLAGS):
        return _as_scores(solid, flags=True)
    if lowest >= 0 and highest <= 1 + ROUNDING:
        _refuse_other_scores(solid, path)
        return _as_scores(solid, flags=False)
    if lowest >= 0 and highest <= PERCENT and not has_scores:
        _refuse_pixels(solid, highest, path)
    return []


def _has_size(clip: dict[str, Any]) -> bool:
    return clip.get("img_shape") is not None


def _drop(clips: Sequence[dict[str, Any]]) -> list[Note]:
    for clip in clips:
        clip["keypoint"] = clip["keypoint"][..., :2]
    return [Note("the third channel of the joints is 0 everywhere and is ignored: 2D, not 3D")]


def _as_scores(clips: Sequence[dict[str, Any]], *, flags: bool) -> list[Note]:
    for clip in clips:
        keypoint = clip["keypoint"]
        third = (keypoint[..., 2] > 0).astype(np.float32) if flags else keypoint[..., 2]
        clip["keypoint"] = keypoint[..., :2]
        if clip.get("keypoint_score") is None:
            clip["keypoint_score"] = third
    if flags:
        return [Note("the third channel of the joints is 0, 1 or 2, so it is read as COCO's visibility: 2D, not 3D")]
    return [Note("the third channel of the joints is in [0, 1], so it is read as their scores: 2D, not 3D")]


def _refuse_shares(clips: Sequence[dict[str, Any]], path: Path) -> None:
    """Refuse x and y that may be shares of a frame next to what may be scores."""
    for clip in clips:
        plane, size = np.nan_to_num(clip["keypoint"][..., :2]), clip.get("img_shape")
        if size is not None and plane.min() >= 0 and plane.max() <= 1 + ROUNDING and plane.any():
            raise AnnotationError(
                f"{path}: clip {clip.get('frame_dir')!r} has three numbers from 0 to 1 per joint, which may be shares "
                "of the frame with a score, or positions in 3D; for the former, store the scores as 'keypoint_score' "
                "and x and y in pixels, for the latter remove img_shape"
            )


def _refuse_other_scores(clips: Sequence[dict[str, Any]], path: Path) -> None:
    """Refuse scores that differ from those in the third channel."""
    for clip in clips:
        score = clip.get("keypoint_score")
        third = np.nan_to_num(clip["keypoint"][..., 2])
        if score is not None and not np.allclose(np.nan_to_num(score), third, rtol=0, atol=ROUNDING):
            raise AnnotationError(
                f"{path}: clip {clip.get('frame_dir')!r} has 'keypoint_score', and a third channel from 0 to 1 next to "
                "pixels that differs from it; remove one of the two"
            )


def _refuse_pixels(clips: Sequence[dict[str, Any]], highest: float, path: Path) -> None:
    """Refuse what may be scores on another scale, if x and y are pixels within the frame."""
    for clip in clips:
        size, plane = clip.get("img_shape"), np.nan_to_num(clip["keypoint"][..., :2])
        if not is_size(size):
            return
        height, width = size
        if not (plane.min() >= 0 and plane[..., 0].max() <= width and plane[..., 1].max() <= height):
            return
    raise AnnotationError(
        f"{path}: the third channel of the joints is from 0 to {highest:.4g} next to x and y in pixels, which may be "
        "scores on another scale or depth; store scores from 0 to 1 as 'keypoint_score', or remove img_shape if it is "
        "depth"
    )
