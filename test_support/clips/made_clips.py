"""Small skeleton files for tests: random walks of joints, some of them unseen, in any layout."""

from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.formats.pickle_writing import write_pickle


def annotation(
    name: str,
    rng: np.random.Generator,
    *,
    label: int = 0,
    persons: int = 1,
    frames: int = 20,
    joints: int = 17,
    dimensions: int = 2,
    unseen: float = 0.0,
    dtype: type = np.float16,
    **extra: Any,
) -> dict[str, Any]:
    """Return a clip of persons whose joints move by a few pixels per frame; a share `unseen` of the joints is zero."""
    start = rng.uniform(100, 400, (persons, 1, joints, dimensions))
    keypoint = start + rng.normal(0, 4, (persons, frames, joints, dimensions)).cumsum(axis=1)
    score = rng.uniform(0.3, 1, (persons, frames, joints))
    hidden = rng.random(score.shape) < unseen
    keypoint[hidden] = 0
    score[hidden] = 0
    clip = {"frame_dir": name, "label": label, "total_frames": frames, "keypoint": keypoint.astype(dtype), **extra}
    if dimensions == 2:
        clip |= {"keypoint_score": score.astype(dtype), "img_shape": (480, 640), "original_shape": (480, 640)}
    return clip


def write_clips(
    path: Path, clips: list[dict[str, Any]], split: dict[str, list[str]] | None = None, **extra: Any
) -> Path:
    """Write a data set; without `split`, all clips are in "train"."""
    names = [clip["frame_dir"] for clip in clips]
    write_pickle(path, {"split": {"train": names} if split is None else split, "annotations": clips, **extra})
    return path
