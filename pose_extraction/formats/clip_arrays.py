"""What the arrays of a clip in a skeleton file mean: which joints of which persons were seen."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from pose_extraction.errors import AnnotationError

# Largest height or width of a frame.
MOST_SIDE = 1_000_000


def is_size(size: Any) -> TypeGuard[Sequence[int]]:
    """Return whether a value is a possible (height, width) of a frame in pixels."""
    return (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MOST_SIDE for side in size)
    )


def seen_of(keypoint: np.ndarray) -> np.ndarray:
    """Return which joints were seen, for a file without scores.

    In 2D, (0, 0) is the corner of the image and marks a joint that was not seen. In 3D it is a valid position, because
    the root joint is the origin of many skeletons; there, a person is absent from a frame if all joints are zero.

    Args:
        keypoint: (M, T, V, D), D = 2 or 3.

    Returns:
        bool (M, T, V), True where a joint was seen.
    """
    seen: np.ndarray = (keypoint != 0).any(axis=-1) & np.isfinite(keypoint).all(axis=-1)
    if keypoint.shape[-1] == 3:
        return np.isfinite(keypoint).all(axis=-1) & seen.any(axis=-1, keepdims=True)
    return seen


def seen_joints(annotation: Mapping[str, Any], row: int) -> np.ndarray:
    """Return which joints of one person of a clip were seen, bool (T, V).

    Args:
        annotation: The clip.
        row: Position of the person in the clip.
    """
    keypoint, score = annotation["keypoint"][row : row + 1], annotation.get("keypoint_score")
    seen: np.ndarray = seen_of(keypoint)[0] if score is None else np.asarray(score[row]) > 0
    return seen


def track_ids(annotation: Mapping[str, Any]) -> list[int]:
    """Return the track number of each person of a clip; without any, persons are numbered by position.

    Raises:
        AnnotationError: They are not whole numbers, one for each person.
    """
    count = len(annotation["keypoint"])
    name = annotation.get("frame_dir", annotation.get("filename"))
    ids = optional_array(annotation, "track_id", "iu", (count,), f"clip {name!r}")
    return list(range(count)) if ids is None else [int(number) for number in ids]


def optional_array(
    annotation: Mapping[str, Any], name: str, kinds: str, shape: tuple[int, ...], place: str
) -> np.ndarray | None:
    """Return an optional entry of a clip as an array; None if it is missing.

    Args:
        annotation: The clip.
        name: Name of the entry.
        kinds: What it must contain, as NumPy's `dtype.kind`: "iu", also as floats without fractions, or "b", also as
            0 and 1.
        shape: Shape that it must have.
        place: The clip, for messages.

    Raises:
        AnnotationError: It is of another kind or shape.
    """
    value = annotation.get(name)
    if value is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        # Lists of different lengths.
        array = np.empty(0, object)
    if array.dtype.kind == "f" and kinds == "iu" and (array == np.rint(array)).all() and np.isfinite(array).all():
        array = array.astype(np.int64)
    elif array.dtype.kind in "iu" and kinds == "b" and ((array == 0) | (array == 1)).all():
        array = array.astype(bool)
    if array.shape != shape or (array.size and array.dtype.kind not in kinds):
        meaning = "true or false" if kinds == "b" else "whole numbers"
        raise AnnotationError(
            f"{place}: {name} is {value!r:.80}, must be {meaning} of the shape {shape}; correct or remove it"
        )
    return array
