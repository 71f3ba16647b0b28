"""Decode heat maps or SimCC vectors into keypoints in pixels of the network input.

All functions are vectorised over batches. Notation: N crops, V joints, maps of h x w cells.
"""

import cv2
import numpy as np


def _peaks(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return column (N, V), row (N, V) and value (N, V) of the maximum of each map."""
    width = heatmaps.shape[-1]
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    index = flat.argmax(-1)
    score = np.take_along_axis(flat, index[..., None], -1)[..., 0]
    return index % width, index // width, score


def _as_result(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # A map without positive values has no peak: the joint is not visible.
    unseen = score <= 0
    keypoint[unseen] = np.nan
    return keypoint.astype(np.float32), np.where(unseen, 0, score).astype(np.float32)


def decode_msra(heatmaps: np.ndarray, input_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Decode heat maps by their maximum, shifted by a quarter of a cell towards the larger neighbour on each axis.

    Used by HRNet (Xiao et al., "Simple baselines for human pose estimation and tracking", 2018).

    Args:
        heatmaps: float32 (N, V, h, w).
        input_size: (height, width) of the crop in pixels.

    Returns:
        keypoint float32 (N, V, 2) in pixels of the crop, NaN where no cell is positive; score float32 (N, V), 0 there.
    """
    count, joints, height, width = heatmaps.shape
    column, row, score = _peaks(heatmaps)
    crop, joint = np.ogrid[:count, :joints]
    left = heatmaps[crop, joint, row, np.maximum(column - 1, 0)]
    right = heatmaps[crop, joint, row, np.minimum(column + 1, width - 1)]
    above = heatmaps[crop, joint, np.maximum(row - 1, 0), column]
    below = heatmaps[crop, joint, np.minimum(row + 1, height - 1), column]
    # Maxima in the outermost cells are not shifted. The asymmetric bounds are those of the published decoders.
    shift_x = np.where((column > 1) & (column < width - 1) & (row > 0), np.sign(right - left), 0)
    shift_y = np.where((row > 1) & (row < height - 1) & (column > 0), np.sign(below - above), 0)
    keypoint = np.stack([column + 0.25 * shift_x, row + 0.25 * shift_y], -1)
    keypoint *= [input_size[1] / width, input_size[0] / height]
    return _as_result(keypoint, score)


def _blurred(heatmaps: np.ndarray, kernel: int) -> np.ndarray:
    """Smooth each map with zero padding, and rescale it to its original maximum."""
    count, joints, height, width = heatmaps.shape
    border = kernel // 2
    # Stack all maps vertically with zeros between them: one call instead of N * V.
    tall = np.zeros((count * joints, height + border, width), np.float32)
    tall[:, :height] = heatmaps.reshape(-1, height, width)
    tall = cv2.GaussianBlur(tall.reshape(-1, width), (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
    smooth = tall.reshape(count * joints, height + border, width)[:, :height].reshape(heatmaps.shape)
    before, after = (maps.max((-2, -1), keepdims=True) for maps in (heatmaps, smooth))
    return smooth * (before / np.where(after == 0, 1, after))


def decode_udp(heatmaps: np.ndarray, input_size: tuple[int, int], blur_kernel: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode heat maps by their maximum, refined by one Newton step on the logarithm of the smoothed map.

    DARK refinement (Zhang et al. 2020, eq. 3 to 9) in the coordinates of unbiased data processing (UDP, Huang et al.
    2020), in which the cells 0 and w - 1 are the centres of the outermost pixels of the crop. Used by ViTPose.

    Args:
        heatmaps: float32 (N, V, h, w).
        input_size: (height, width) of the crop in pixels.
        blur_kernel: Width of the Gaussian kernel in cells, odd; 11 for maps trained with sigma 2.

    Returns:
        keypoint float32 (N, V, 2) in pixels of the crop, NaN where no cell is positive; score float32 (N, V), 0 there.
    """
    count, joints, height, width = heatmaps.shape
    column, row, score = _peaks(heatmaps)
    crop, joint = np.ogrid[:count, :joints]
    smooth = _blurred(heatmaps, blur_kernel)

    def log_at(dx: int, dy: int) -> np.ndarray:
        value = smooth[crop, joint, np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)]
        return np.log(np.clip(value, 1e-3, 50.0))

    centre = log_at(0, 0)
    right, left, below, above = log_at(1, 0), log_at(-1, 0), log_at(0, 1), log_at(0, -1)
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = right - 2 * centre + left, below - 2 * centre + above
    dxy = 0.5 * (log_at(1, 1) - right - below + centre + centre - left - above + log_at(-1, -1))
    epsilon = np.finfo(np.float32).eps
    hessian = np.stack([dxx + epsilon, dxy, dxy, dyy + epsilon], -1).reshape(count, joints, 2, 2).astype(np.float64)
    gradient = np.stack([dx, dy], -1).astype(np.float64)
    keypoint = np.stack([column, row], -1) - np.einsum("nvij,nvj->nvi", np.linalg.inv(hessian), gradient)
    keypoint = keypoint / [width - 1, height - 1] * [input_size[1], input_size[0]]
    return _as_result(keypoint, score)


def decode_simcc(simcc_x: np.ndarray, simcc_y: np.ndarray, split_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Decode SimCC vectors by their maxima (Li et al., "SimCC", 2022). The score is the smaller maximum of the two.

    Args:
        simcc_x: float32 (N, V, width * split_ratio).
        simcc_y: float32 (N, V, height * split_ratio).
        split_ratio: Entries per pixel.

    Returns:
        keypoint float32 (N, V, 2) in pixels of the crop, NaN where no entry is positive; score float32 (N, V), 0 there.
    """
    keypoint = np.stack([simcc_x.argmax(-1), simcc_y.argmax(-1)], -1) / split_ratio
    return _as_result(keypoint, np.minimum(simcc_x.max(-1), simcc_y.max(-1)))


def average_with_flipped(
    heatmaps: np.ndarray, flipped: np.ndarray, flip_indices: np.ndarray, *, shift: bool
) -> np.ndarray:
    """Average the maps of a crop with those of its mirror image.

    Args:
        heatmaps: float32 (N, V, h, w) of the crops.
        flipped: float32 (N, V, h, w) of the mirrored crops.
        flip_indices: int (V,), index of the mirrored joint of each joint.
        shift: Whether to shift the mirrored maps by one cell to the right, as is necessary without UDP.

    Returns:
        float32 (N, V, h, w).
    """
    mirrored = flipped[:, flip_indices, :, ::-1]
    if shift:
        mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], -1)
    return (heatmaps + mirrored) * np.float32(0.5)
