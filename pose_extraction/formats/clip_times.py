"""Times of the frames of a clip, from what its annotation stores."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def times_of(annotation: Mapping[str, Any], frames: int) -> np.ndarray | None:
    """Return the times of a clip's frames in seconds, float64 (T,); None if there are no usable ones."""
    if "time" in annotation:
        time = np.asarray(annotation["time"], np.float64)
        if time.shape == (frames,) and np.isfinite(time).all() and (np.diff(time) > 0).all():
            return time
    rate = annotation.get("fps")
    return np.arange(frames) / float(rate) if rate else None
