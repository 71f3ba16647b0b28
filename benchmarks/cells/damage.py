"""Damage to the clips of a skeleton file, the same for every method: it is applied before any of them sees a clip."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.rivals.motion import joints_of
from pose_extraction.formats.annotations import identifier_of, with_zeros
from pose_extraction.skeleton import COCO17
from recognition.data.perturbations import generator_of
from recognition.robustness.conditions import CLEAN, BenchSettings, Condition, perturbation_of

Annotation = dict[str, Any]
# Skeletons of another estimator for the same videos, instead of a perturbation.
OTHER = "other_estimator"
CONDITIONS = (
    Condition("noise", 0.02),
    Condition("noise", 0.05),
    Condition("joints", 0.6),
    Condition("lower_frame_rate", 2),
    Condition("lower_frame_rate", 4),
    Condition("dropped_people", 0.3),
    Condition("left_right_swaps", 0.3),
)
# One draw of each condition; methods and training seeds share it.
SEED = 0


def damaged(clip: Annotation, condition: Condition, others: Mapping[str, Annotation] | None = None) -> Annotation:
    """Return a clip under a condition.

    Args:
        clip: Annotation with joints of COCO-17 and time stamps.
        condition: Clean, one of `CONDITIONS`, or the skeletons of another estimator.
        others: Annotations of the other estimator by clip id.

    Returns:
        A new annotation. The frames that a lower frame rate removes are also removed from its time stamps.
    """
    if condition.family == CLEAN:
        return clip
    if condition.family == OTHER:
        return (others or {})[identifier_of(clip)]
    perturbation = perturbation_of(condition, BenchSettings(), layout=COCO17, model_layout=COCO17)
    assert perturbation is not None
    keypoint, score = (values.astype(np.float32) for values in joints_of(clip))
    height, width = clip["img_shape"]
    # The unit in which perturbations are defined: half the longer side of the frame.
    unit = np.float32(max(height, width) / 2)
    name = identifier_of(clip)
    moved, moved_score = perturbation(keypoint / unit - 1, score, generator_of(SEED, name), (height, width))
    # The same draw applied to frame numbers tells which frames are left.
    numbers = np.broadcast_to(np.arange(1, score.shape[1] + 1, dtype=np.float32)[:, None], score.shape)
    frames = np.arange(score.shape[1])
    if moved_score.shape[1] < score.shape[1]:
        _, kept = perturbation(keypoint / unit - 1, numbers, generator_of(SEED, name), (height, width))
        frames = np.rint(kept[0, :, 0]).astype(int) - 1
    stored, stored_score = with_zeros((moved + 1) * unit, moved_score)
    stored[stored_score == 0] = 0
    changed = {
        **clip,
        "keypoint": stored,
        "keypoint_score": stored_score,
        "total_frames": len(frames),
        "time": np.asarray(clip["time"])[frames],
    }
    if "fps" in clip:
        changed["fps"] = float(clip["fps"]) * len(frames) / score.shape[1]
    for key in ("frame_index", "imputed"):
        if key in clip:
            changed[key] = np.asarray(clip[key])[..., frames, :] if key == "imputed" else np.asarray(clip[key])[frames]
    return changed
