"""Random augmentation of joints.

Arrays are float32 (M, T, V, D) with D = 2 or 3 coordinates. A joint that was not seen is NaN with score 0.
"""

import numpy as np

# Ranges of `random_move`, as in MotionBERT's recipe.
ROTATION = np.pi / 18
SCALE = (0.9, 1.1)
TRANSLATION = 0.1


def flip(
    keypoint: np.ndarray, score: np.ndarray, flip_indices: np.ndarray, *, middle: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror about x = `middle`; left and right joints are exchanged, together with their scores.

    Args:
        keypoint: float (M, T, V, D), NaN where not seen.
        score: float (M, T, V), 0 where not seen.
        flip_indices: int (V,), for each joint the one on the other side, or itself.
        middle: x of the mirror, in the unit of the coordinates.

    Returns:
        New arrays of the same shapes.
    """
    mirrored = keypoint[..., flip_indices, :]
    mirrored[..., 0] = np.float32(2 * middle) - mirrored[..., 0]
    return mirrored, score[..., flip_indices]


def random_move(
    keypoint: np.ndarray, rng: np.random.Generator, *, nodes: int = 2, translation: float = TRANSLATION
) -> np.ndarray:
    """Rotate, scale and shift all persons about the origin by amounts that change over the clip.

    The amounts are drawn at `nodes` evenly spaced times, including the first and the last frame: rotation in [-10, 10]
    degrees, scale in [0.9, 1.1], and shift of each axis in [-translation, translation]. They are interpolated linearly.
    Two nodes are MotionBERT's recipe; with more, people sway. In 3D the rotation is about the vertical y axis.

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        rng: Random generator.
        nodes: Number of times, at least 2.
        translation: Largest shift, in the unit of the coordinates.
    """
    frames, dimensions = keypoint.shape[1], keypoint.shape[-1]

    def amounts(low: float, high: float) -> np.ndarray:
        return np.interp(np.linspace(0, 1, frames), np.linspace(0, 1, nodes), rng.uniform(low, high, nodes))

    angle = amounts(-ROTATION, ROTATION)
    scale = amounts(*SCALE)
    shift = np.stack([amounts(-translation, translation) for _ in range(dimensions)], axis=-1)
    first, second = (0, 1) if dimensions == 2 else (2, 0)
    turn = np.zeros((frames, dimensions, dimensions))
    turn[:, range(dimensions), range(dimensions)] = scale[:, None]
    turn[:, first, first] = turn[:, second, second] = np.cos(angle) * scale
    turn[:, second, first] = np.sin(angle) * scale
    turn[:, first, second] = -turn[:, second, first]
    return keypoint @ turn.transpose(0, 2, 1).astype(np.float32) + shift[:, None].astype(np.float32)


def random_shear(keypoint: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply all coordinates by one matrix: ones on the diagonal, U(-amount, amount) elsewhere (PCM3's shear).

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        amount: At least 0.
        rng: Random generator.
    """
    dimensions = keypoint.shape[-1]
    matrix = rng.uniform(-amount, amount, (dimensions, dimensions))
    np.fill_diagonal(matrix, 1)
    return keypoint @ matrix.T.astype(np.float32)


def random_turn(keypoint: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate 3D coordinates about x, then y, then z, by angles drawn from U(-amount, amount).

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen.
        amount: Largest angle in radians, at least 0.
        rng: Random generator.
    """
    result = keypoint
    for first, second in ((1, 2), (2, 0), (0, 1)):
        angle = rng.uniform(-amount, amount)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -np.sin(angle)
        result = result @ turn.T.astype(np.float32)
    return result
