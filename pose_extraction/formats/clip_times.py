"""The times of the frames of a clip in a skeleton file."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def times_of(annotation: Mapping[str, Any], frames: int) -> np.ndarray | None:
    """Return the times of a clip's frames.

    They are the entry `time`, if it contains one finite time per frame in ascending order, and otherwise follow from
    the frame rate in the entry `fps`, if it is a number above 0.

    Args:
        annotation: The annotation of the clip.
        frames: T, number of frames.

    Returns:
        float64 (T,), in seconds; None if the annotation contains no usable times.
    """
    time = _numbers(annotation.get("time"))
    if time is not None and time.shape == (frames,) and _ascends(time):
        return time
    rate = rate_of(annotation)
    if rate is None:
        return None
    with np.errstate(over="ignore"):
        time = np.arange(frames) / rate
    return time if _ascends(time) else None


def rate_of(annotation: Mapping[str, Any]) -> float | None:
    """Return the frames per second in the entry `fps` of a clip; None if it is missing or no number above 0."""
    rate = _numbers(annotation.get("fps"))
    if rate is None or rate.size != 1 or not (math.isfinite(rate.item()) and rate.item() > 0):
        return None
    return float(rate.item())


def has_unusable_times(annotation: Mapping[str, Any], frames: int) -> bool:
    """Return whether a clip has entries for times, but none that `times_of` can use."""
    rate = annotation.get("fps")
    no_rate = rate is None or (isinstance(rate, int | float | np.number) and rate == 0)
    recorded = annotation.get("time") is not None or not no_rate
    return recorded and times_of(annotation, frames) is None


def _ascends(time: np.ndarray) -> bool:
    return bool(np.isfinite(time).all() and (np.diff(time) > 0).all())


def _numbers(value: Any) -> np.ndarray | None:
    try:
        numbers = np.asarray(value)
        return numbers.astype(np.float64) if numbers.dtype.kind in "fiu" else None
    except (OverflowError, TypeError, ValueError):
        return None
