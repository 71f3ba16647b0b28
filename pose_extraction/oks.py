"""Similarity of poses and boxes: object keypoint similarity (OKS), overlap, containment, area.

All functions are vectorised over persons, and fast for few persons, because the tracker calls them for every frame.
Notation: N, M persons, V joints; boxes are x1 y1 x2 y2 in pixels.
"""

import warnings

import numpy as np

from pose_extraction.skeleton import COCO17

# COCO computes OKS with the area of the segmentation mask. This is its typical fraction of the box area, used where no
# mask is available.
OUTLINE_SHARE = 0.53

# k_i^2 in COCO's keypoint evaluation, with k_i = 2 * sigma_i.
COCO_SPREAD = (2.0 * np.asarray(COCO17.sigmas)) ** 2


def oks(
    first: np.ndarray,
    second: np.ndarray,
    area: np.ndarray | float,
    *,
    slack: np.ndarray | float = 0.0,
    spread: np.ndarray = COCO_SPREAD,
) -> np.ndarray:
    """Object keypoint similarity over the joints seen in both poses. Leading axes broadcast.

    OKS = mean_i exp(-d_i^2 / (2 A (k_i^2 + slack))). With slack = 0, this is the definition of COCO.

    Args:
        first: (..., V, 2) pixels, NaN where not seen.
        second: (..., V, 2) pixels, NaN where not seen.
        area: (...), area A of the person in square pixels, greater than 0.
        slack: (...), additional variance as a fraction of A, to allow for uncertain positions.
        spread: (V,), k_i^2.

    Returns:
        (...) in [0, 1]; 0 if the poses have no joint in common.
    """
    alike, shared = _alike(first, second, area, slack, spread)
    return alike.sum(-1) / np.maximum(shared.sum(-1), 1)


def joint_likeness(first: np.ndarray, second: np.ndarray, area: np.ndarray | float) -> np.ndarray:
    """Similarity of each joint, whose mean is `oks`.

    Args:
        first: (..., V, 2) pixels, NaN where not seen.
        second: (..., V, 2) pixels, NaN where not seen.
        area: (...), area of the person in square pixels, greater than 0.

    Returns:
        (..., V) in [0, 1]; 0 for joints that are missing in either pose.
    """
    return _alike(first, second, area, 0.0, COCO_SPREAD)[0]


def _alike(
    first: np.ndarray,
    second: np.ndarray,
    area: np.ndarray | float,
    slack: np.ndarray | float,
    spread: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of each joint, 0 where it is missing in either pose, and whether both poses have it."""
    difference = first - second
    distance = np.einsum("...c,...c->...", difference, difference)
    shared = distance == distance
    width = 2.0 * np.expand_dims(np.asarray(area), -1) * (spread + np.expand_dims(np.asarray(slack), -1))
    return np.exp(-np.where(shared, distance, np.inf) / width), shared


def oks_matrix(first: np.ndarray, second: np.ndarray, area: np.ndarray) -> np.ndarray:
    """OKS of all pairs of poses.

    Args:
        first: (N, V, 2) pixels, NaN where not seen.
        second: (M, V, 2) pixels, NaN where not seen.
        area: (N,), areas of `first` in square pixels.

    Returns:
        (N, M) in [0, 1].
    """
    return oks(first[:, None], second[None], np.asarray(area)[:, None])


def box_area(box: np.ndarray) -> np.ndarray:
    """Area (...) of boxes (..., 4) in square pixels; 0 for inverted boxes, NaN for missing ones."""
    return np.maximum(box[..., 2] - box[..., 0], 0) * np.maximum(box[..., 3] - box[..., 1], 0)


def box_centre(box: np.ndarray) -> np.ndarray:
    """Centre (..., 2) of boxes (..., 4)."""
    return 0.5 * (box[..., :2] + box[..., 2:])


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    overlap = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    np.maximum(overlap, 0, out=overlap)
    return overlap[..., 0] * overlap[..., 1]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) with boxes (M, 4); 0 if either has no area."""
    shared = _intersection(first, second)
    union = box_area(first)[:, None] + box_area(second)[None] - shared
    return shared / np.maximum(union, 1e-9)


def box_inside(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Fraction (N, M) in [0, 1] of the area of each box in `inner` (N, 4) that lies in each box in `outer` (M, 4)."""
    return _intersection(inner, outer) / np.maximum(box_area(inner)[:, None], 1e-9)


def pose_bounds(keypoint: np.ndarray) -> np.ndarray:
    """Smallest boxes (..., 4) around the seen joints of poses (..., V, 2); NaN where no joint was seen."""
    with warnings.catch_warnings():
        # A pose without joints is valid; its box is NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.concatenate((np.nanmin(keypoint, -2), np.nanmax(keypoint, -2)), -1)


def median_seen(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median along one axis, ignoring NaN; NaN where all values are NaN.

    This is ten times as fast as np.nanmedian for the short axes of poses.

    Args:
        values: Values of any shape.
        axis: Axis to reduce.
    """
    ordered = np.sort(np.moveaxis(values, axis, 0), axis=0)
    count = (ordered == ordered).sum(0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, np.maximum(count - 1, 0))
    pick = np.take_along_axis
    return 0.5 * (pick(ordered, lower[None], 0)[0] + pick(ordered, upper[None], 0)[0])
