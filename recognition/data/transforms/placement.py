"""Position and scale of joints: from pixels or metres to the network's coordinates.

Arrays are float32 (M, T, V, D) with D = 2 or 3 coordinates. A joint that was not seen is NaN with score 0 and has no
influence on any step; `crop_scale`, the last one, replaces it by zeros. In 2D, the unit after `to_camera` is half the
frame's longer side. In 3D, where there is no frame, `to_body` results in a similar scale.
"""

import numpy as np

# If fewer joints were seen in a whole clip, its size is undefined.
FEWEST_JOINTS = 4


def to_camera(keypoint: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map pixels to [-1, 1] over the longer side of the frame; the shorter side starts at -1, too.

    Args:
        keypoint: float32 (M, T, V, 2), pixels; NaN where not seen.
        size: (height, width) of the frame in pixels.
    """
    return keypoint * np.float32(2 / max(size)) - np.float32(1)


def to_frame(keypoint: np.ndarray, score: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map the result of `to_camera` to [-1, 1] over width and height separately, as PYSKL does.

    Args:
        keypoint: float32 (M, T, V, 2), result of `to_camera`.
        score: float32 (M, T, V), 0 where not seen.
        size: (height, width) of the frame in pixels.

    Returns:
        float32 (M, T, V, 2), zeros where not seen.
    """
    height, width = size
    scale = np.array([max(size) / width, max(size) / height], np.float32)
    return np.where((score > 0)[..., None], (keypoint + 1) * scale - 1, np.float32(0))


def to_body(keypoint: np.ndarray) -> np.ndarray:
    """Scale 3D coordinates so that the longest side of the clip's bounding box is 1.

    The origin is the mean of the first person's joints in the first frame in which that person is seen.

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen; returned as it is if no joint was seen.
    """
    seen = np.isfinite(keypoint).all(axis=-1)
    if not seen.any():
        return keypoint
    person, frame = np.argwhere(seen.any(axis=-1))[0]
    origin = keypoint[person, frame][seen[person, frame]].mean(axis=0)
    points = keypoint[seen]
    extent = np.ptp(points, axis=0).max()
    return (keypoint - origin) / (extent if extent > 0 else np.float32(1))


def to_first_frame(keypoint: np.ndarray, joint: int) -> np.ndarray:
    """Translate 3D coordinates so that the first person's `joint` is the origin, in the first frame that has it.

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen; returned as it is if no frame has the joint.
        joint: Number of the joint.
    """
    seen = np.isfinite(keypoint[:, :, joint]).all(axis=-1)
    if not seen.any():
        return keypoint
    person, frame = np.argwhere(seen)[0]
    return keypoint - keypoint[person, frame, joint]


def to_aligned(
    keypoint: np.ndarray, score: np.ndarray, *, joint: int, upwards: tuple[int, int], across: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise 3D coordinates as in 2s-AGCN: centred in every frame, upright and with the same facing direction.

    If a person is missing in the first frame, that person's poses move to the beginning. Frames after a person's last
    pose repeat that person's sequence from its beginning. The first person's `joint` becomes the origin of every frame.
    The whole clip is rotated so that, in the first frame, the bone `upwards` points along z, and then so that `across`
    points along x.

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        joint: Joint that becomes the origin.
        upwards: (lower, upper) joint of a vertical bone.
        across: (left, right) joint of a horizontal line.

    Returns:
        Joints and scores of the same shapes.
    """
    sources = [_looped((one > 0).any(axis=1)) for one in score]
    keypoint = np.stack([one[source] for one, source in zip(keypoint, sources, strict=True)])
    score = np.stack([one[source] for one, source in zip(score, sources, strict=True)])
    keypoint = _upright(keypoint, joint, upwards)
    first = keypoint[0, 0]
    turn = _turn_onto(first[across[1]] - first[across[0]], np.array([1.0, 0.0, 0.0]))
    return keypoint @ turn.T.astype(np.float32), score


def to_upright(
    keypoint: np.ndarray, score: np.ndarray, *, joint: int, upwards: tuple[int, int], across: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise 3D coordinates like `to_aligned`, but without tilting persons who hold their shoulders obliquely.

    A frame without persons repeats the previous frame. After the rotation of `upwards` onto z, the clip is rotated
    about z only, until `across` points against x as closely as possible.

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        joint: Joint of the first person that becomes the origin of every frame.
        upwards: (lower, upper) joint of a vertical bone.
        across: (left, right) joint of a horizontal line.

    Returns:
        Joints and scores of the same shapes; unchanged if no person was seen.
    """
    empty = np.asarray(~(score > 0).any(axis=(0, 2)))
    if empty.all():
        return keypoint, score
    source = np.where(empty, 0, np.arange(len(empty)))
    source = np.maximum.accumulate(source)
    # Frames before the first person repeat the first frame that has one.
    source[: int(np.argmin(empty))] = int(np.argmin(empty))
    keypoint, score = _upright(keypoint[:, source], joint, upwards), score[:, source]
    first = keypoint[0, 0]
    line = first[across[0]] - first[across[1]]
    line[2] = 0
    turn = _turn_onto(line, np.array([1.0, 0.0, 0.0]))
    return keypoint @ turn.T.astype(np.float32), score


def _looped(there: np.ndarray) -> np.ndarray:
    """Return the frame that each of a person's frames is taken from, int64 (T,), given those with a pose, bool (T,)."""
    poses = np.flatnonzero(there)
    if not len(poses):
        return np.arange(len(there))
    sequence = np.arange(poses[-1] + 1) if there[0] else poses
    return np.resize(sequence, len(there))


def _upright(keypoint: np.ndarray, joint: int, upwards: tuple[int, int]) -> np.ndarray:
    """Centre every frame at the first person's `joint`, and rotate the clip so that `upwards` points along z."""
    centre = keypoint[0, :, joint][:, None]
    keypoint = keypoint - np.where(np.isfinite(centre), centre, np.float32(0))
    first = keypoint[0, 0]
    turn = _turn_onto(first[upwards[1]] - first[upwards[0]], np.array([0.0, 0.0, 1.0]))
    return keypoint @ turn.T.astype(np.float32)


def _turn_onto(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) from a vector's direction to an axis, about their common normal; identity for zero.

    Computed by Rodrigues' formula.
    """
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        return np.eye(3)
    unit = vector.astype(np.float64) / length
    normal = np.cross(unit, axis)
    sine, cosine = float(np.linalg.norm(normal)), float(unit @ axis)
    if sine < 1e-9:
        # Opposite directions have no unique normal; a half turn about any perpendicular axis is correct.
        side = np.roll(axis, 1)
        return np.eye(3) if cosine > 0 else 2 * np.outer(side, side) - np.eye(3)
    normal /= sine
    skew = np.array([[0, -normal[2], normal[1]], [normal[2], 0, -normal[0]], [-normal[1], normal[0], 0]])
    return np.eye(3) + sine * skew + (1 - cosine) * skew @ skew


def crop_scale(keypoint: np.ndarray, score: np.ndarray, ratio: float) -> np.ndarray:
    """Crop to a square (a cube in 3D) around the bounding box of all joints that were seen, and scale it to [-1, 1].

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        ratio: Side of the square divided by the longest side of the box; the box spans [-1/ratio, 1/ratio].

    Returns:
        float32 (M, T, V, D), clipped to [-1, 1], zeros where not seen. If fewer than four joints were seen in the whole
        clip, or all at one point, the scale is undefined and all joints are set to zero; their scores still tell which
        of them were seen.
    """
    seen = score > 0
    points = keypoint[seen]
    if len(points) < FEWEST_JOINTS:
        return np.zeros_like(keypoint)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    if extent == 0:
        return np.zeros_like(keypoint)
    placed = (keypoint - (low + high) / 2) * np.float32(2 / (extent * ratio))
    return np.where(seen[..., None], np.clip(placed, -1, 1), np.float32(0))
