"""Conversion of joint layouts, and the order of two persons.

Arrays are float32 (M, T, V, D) with D = 2 or 3 coordinates. A joint that was not seen is NaN with score 0.
"""

import numpy as np

# H36M-17 from COCO-17: each joint is the mean of these parents.
H36M_PARENTS: tuple[tuple[int, ...], ...] = (
    (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (5, 6, 11, 12), (5, 6), (0,), (1, 2), (5,), (7,), (9,), (6,),
    (8,), (10,),
)  # fmt: skip
H36M_HEAD = 10


def follow_two(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Restore the order of two persons whose slots were exchanged between frames, together with their scores.

    From each frame to the next, the person closer to the first person's previous position becomes the first. The
    distance is the sum of the Euclidean distances of the joints that all three poses have; without common joints, the
    order stays.

    Args:
        keypoint: float32 (2, T, V, D), NaN where not seen.
        score: float32 (2, T, V).
    """
    now, before = keypoint[0, 1:], keypoint[:, :-1]
    distance = np.linalg.norm(now - before, axis=-1)
    common = np.isfinite(distance).all(axis=0)
    stays, changes = np.where(common, distance, 0).sum(axis=-1)
    swapped = np.concatenate([[False], np.logical_xor.accumulate(stays > changes)])
    if not swapped.any():
        return keypoint, score
    return (
        np.where(swapped[:, None, None], keypoint[::-1], keypoint),
        np.where(swapped[:, None], score[::-1], score),
    )


def coco_to_h36m(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert COCO-17 to H36M-17 as defined by MotionBERT, with consistent scores.

    A derived joint (root, belly, neck) is seen if all its parents are, and its score is the lowest of theirs. The head
    is the mean of the eyes, or the single eye that was seen. The belly is the mean of root and neck.

    Args:
        keypoint: float32 (M, T, 17, 2), NaN where not seen.
        score: float32 (M, T, 17), 0 where not seen.
    """
    parts, scores = [], []
    for parents in H36M_PARENTS:
        parts.append(keypoint[..., parents, :].mean(axis=-2))
        scores.append(score[..., parents].min(axis=-1))
    eyes, eye_score = keypoint[..., (1, 2), :], score[..., (1, 2)]
    one_eye = (eye_score > 0).sum(axis=-1) == 1
    better = np.take_along_axis(eyes, eye_score.argmax(axis=-1)[..., None, None], axis=-2)[..., 0, :]
    parts[H36M_HEAD] = np.where(one_eye[..., None], better, parts[H36M_HEAD])
    scores[H36M_HEAD] = np.where(one_eye, eye_score.max(axis=-1), scores[H36M_HEAD])
    return np.stack(parts, axis=-2), np.stack(scores, axis=-1)
