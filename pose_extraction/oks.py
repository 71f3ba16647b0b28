"""How alike two poses or two boxes are: object keypoint similarity (OKS), overlap, containment, size.

Everything is vectorised over persons and cheap for a handful of them, since the tracker asks in every frame.
Notation: N, M persons, V joints; boxes are x1 y1 x2 y2 in pixels.
"""

import warnings

import numpy as np

from pose_extraction.skeleton import COCO17

# COCO measures OKS against the area of the person's outline, which fills about this share of the person's box; the
# same share stands in wherever no outline is at hand.
OUTLINE_SHARE = 0.53

# k_i^2 of the COCO keypoint evaluation, k_i = 2 * sigma_i.
COCO_SPREAD = (2.0 * np.asarray(COCO17.sigmas)) ** 2


def oks(
    first: np.ndarray,
    second: np.ndarray,
    area: np.ndarray | float,
    *,
    slack: np.ndarray | float = 0.0,
    spread: np.ndarray = COCO_SPREAD,
) -> np.ndarray:
    """Object keypoint similarity over the joints that both poses have; leading axes broadcast.

    OKS = mean_i exp(-d_i^2 / (2 A (k_i^2 + slack))), the COCO keypoint evaluation's with the slack at 0.

    Args:
        first: (..., V, 2) pixels, NaN where not seen.
        second: (..., V, 2) pixels, NaN where not seen.
        area: (...), area A of the person's outline in square pixels, above 0.
        slack: (...), variance to allow on top of the joint's own, as a share of A: how unsure the place is.
        spread: (V,), k_i^2.

    Returns:
        (...) in [0, 1]; 0 where the poses have no joint in common.
    """
    alike, shared = _alike(first, second, area, slack, spread)
    return alike.sum(-1) / np.maximum(shared.sum(-1), 1)


def joint_likeness(first: np.ndarray, second: np.ndarray, area: np.ndarray | float) -> np.ndarray:
    """What `oks` is the mean of, joint by joint: (..., V) in [0, 1]; 0 for a joint that either pose has not."""
    return _alike(first, second, area, 0.0, COCO_SPREAD)[0]


def _alike(
    first: np.ndarray,
    second: np.ndarray,
    area: np.ndarray | float,
    slack: np.ndarray | float,
    spread: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Likeness of each joint, 0 where it is not shared, and whether it is."""
    difference = first - second
    distance = np.einsum("...c,...c->...", difference, difference)
    shared = distance == distance
    width = 2.0 * np.expand_dims(np.asarray(area), -1) * (spread + np.expand_dims(np.asarray(slack), -1))
    return np.exp(-np.where(shared, distance, np.inf) / width), shared


def oks_matrix(first: np.ndarray, second: np.ndarray, area: np.ndarray) -> np.ndarray:
    """OKS of every pose of `first` (N, V, 2) with every one of `second` (M, V, 2), by the areas (N,) of `first`."""
    return oks(first[:, None], second[None], np.asarray(area)[:, None])


def box_area(box: np.ndarray) -> np.ndarray:
    """Area (...) in square pixels of boxes (..., 4); 0 for an inverted box, NaN for one that is not there."""
    return np.maximum(box[..., 2] - box[..., 0], 0) * np.maximum(box[..., 3] - box[..., 1], 0)


def box_centre(box: np.ndarray) -> np.ndarray:
    """Centre (..., 2) of boxes (..., 4)."""
    return 0.5 * (box[..., :2] + box[..., 2:])


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    overlap = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    np.maximum(overlap, 0, out=overlap)
    return overlap[..., 0] * overlap[..., 1]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) with boxes (M, 4); 0 where either has no area."""
    shared = _intersection(first, second)
    union = box_area(first)[:, None] + box_area(second)[None] - shared
    return shared / np.maximum(union, 1e-9)


def box_inside(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Share (N, M) of each box of `inner` (N, 4) that lies in each box of `outer` (M, 4), in [0, 1]."""
    return _intersection(inner, outer) / np.maximum(box_area(inner)[:, None], 1e-9)


def pose_bounds(keypoint: np.ndarray) -> np.ndarray:
    """Smallest boxes (..., 4) around the seen joints of poses (..., V, 2); NaN where no joint was seen."""
    with warnings.catch_warnings():
        # A pose without any joint is a legal input, whose bounds are NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.concatenate((np.nanmin(keypoint, -2), np.nanmax(keypoint, -2)), -1)


def median_seen(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Median over one axis of the values that are not NaN; NaN where there are none.

    NumPy's nanmedian does the same an order of magnitude slower on the short axes of poses.
    """
    ordered = np.sort(np.moveaxis(values, axis, 0), axis=0)
    count = (ordered == ordered).sum(0)
    lower, upper = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, np.maximum(count - 1, 0))
    pick = np.take_along_axis
    return 0.5 * (pick(ordered, lower[None], 0)[0] + pick(ordered, upper[None], 0)[0])
