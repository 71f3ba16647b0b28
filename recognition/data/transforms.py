"""Transforms from a clip's joints to the network's input: one pure function per step, in the order of use.

Arrays are float32 (M, T, V, D) with D = 2 or 3 coordinates. A joint that was not seen is NaN with score 0 and has no
influence on any step; the last step, `crop_scale`, replaces it by zeros. In 2D, the unit after `to_camera` is half the
frame's longer side. In 3D, where there is no frame, `to_body` results in a similar scale.
"""

import numpy as np

# Ranges of `random_move`, as in MotionBERT's recipe.
ROTATION = np.pi / 18
SCALE = (0.9, 1.1)
TRANSLATION = 0.1
# If fewer joints were seen in a whole clip, its size is undefined.
FEWEST_JOINTS = 4

# H36M-17 from COCO-17: each joint is the mean of these parents.
H36M_PARENTS: tuple[tuple[int, ...], ...] = (
    (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (5, 6, 11, 12), (5, 6), (0,), (1, 2), (5,), (7,), (9,), (6,),
    (8,), (10,),
)  # fmt: skip
H36M_HEAD = 10


def sample_frames(length: int, target: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Select the indices of `target` frames, evenly distributed over a clip.

    A short clip repeats frames. With `rng`, positions are jittered as in MotionBERT's recipe: in a short clip, each is
    rounded up or down at random; in a long clip, it is drawn from its interval. Otherwise positions are rounded down.

    Args:
        length: Frames of the clip, at least 1.
        target: Frames to select, at least 1.
        rng: Random generator; None for fixed positions.

    Returns:
        int64 (target,), ascending.
    """
    even = np.linspace(0, length, target, endpoint=False)
    if rng is None:
        return even.astype(np.int64)
    if length < target:
        chosen = np.sort(np.where(rng.random(target) < 0.5, np.floor(even), np.ceil(even)))
    else:
        chosen = even + rng.random(target) * (length / target)
    return np.minimum(chosen, length - 1).astype(np.int64)


def resample_linear(keypoint: np.ndarray, score: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample to `target` evenly distributed frames by linear interpolation (bilinear resizing along time).

    If a joint was seen in only one of two neighbouring frames, its position there is used; if in none, the joint counts
    as not seen.

    Args:
        keypoint: float32 (M, T, V, D), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        target: Number of frames of the result.

    Returns:
        float32 (M, target, V, D) and (M, target, V).
    """
    frames = score.shape[1]
    place = np.clip((np.arange(target) + 0.5) * (frames / target) - 0.5, 0, frames - 1)
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, frames - 1)
    share = (place - before).astype(np.float32)[:, None]
    weights = np.stack([(1 - share) * (score[:, before] > 0), share * (score[:, after] > 0)])  # (2, M, target, V)
    total = weights.sum(axis=0)
    parts = np.nan_to_num(np.stack([keypoint[:, before], keypoint[:, after]]))
    scores = np.stack([score[:, before], score[:, after]])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (parts * weights[..., None]).sum(axis=0) / total[..., None], np.where(
            total > 0, (scores * weights).sum(axis=0) / total, 0
        ).astype(np.float32)


def random_part(length: int, shares: tuple[float, float], rng: np.random.Generator, *, fewest: int = 1) -> slice:
    """Draw a contiguous part of a clip: first its length from a range, then its position.

    Args:
        length: Frames of the clip.
        shares: Range of the length as a share of the clip, each in (0, 1].
        rng: Random generator.
        fewest: Minimum number of frames, if the clip is that long.
    """
    kept = min(max(fewest, round(length * rng.uniform(*shares))), length)
    start = int(rng.integers(length - kept + 1))
    return slice(start, start + kept)


def middle_part(length: int, share: float, *, fewest: int = 1) -> slice:
    """Return the middle part of a clip, used for testing: `share` of its frames, but at least `fewest`."""
    kept = min(max(fewest, int(length * share)), length)
    start = (length - kept) // 2
    return slice(start, start + kept)


def to_camera(keypoint: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map pixels to [-1, 1] over the longer side of a frame of `size` (height, width); the shorter starts at -1 too."""
    return keypoint * np.float32(2 / max(size)) - np.float32(1)


def to_frame(keypoint: np.ndarray, score: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map the result of `to_camera` to [-1, 1] over width and height separately (PYSKL); zeros where not seen."""
    height, width = size
    scale = np.array([max(size) / width, max(size) / height], np.float32)
    return np.where((score > 0)[..., None], (keypoint + 1) * scale - 1, np.float32(0))


def to_body(keypoint: np.ndarray) -> np.ndarray:
    """Scale 3D coordinates so that the longest side of the clip's bounding box is 1.

    The origin is the mean of the first person's joints in the first frame in which that person is seen.
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
    """Translate 3D coordinates so that the first person's `joint` is the origin, in the first frame that has it."""
    seen = np.isfinite(keypoint[:, :, joint]).all(axis=-1)
    if not seen.any():
        return keypoint
    person, frame = np.argwhere(seen)[0]
    return keypoint - keypoint[person, frame, joint]


def to_aligned(
    keypoint: np.ndarray, score: np.ndarray, *, joint: int, upwards: tuple[int, int], across: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise 3D coordinates as in 2s-AGCN: centred in every frame, upright and with the same facing direction.

    A frame without persons repeats the previous frame. The first person's `joint` becomes the origin of every frame.
    The whole clip is rotated so that, in the first frame, the bone `upwards` points along z, and then about z so that
    `across` points along x as closely as possible.

    Args:
        keypoint: float32 (M, T, V, 3), NaN where not seen.
        score: float32 (M, T, V), 0 where not seen.
        joint: Joint that becomes the origin.
        upwards: (lower, upper) joint of a vertical bone.
        across: (right, left) joint of a horizontal line.

    Returns:
        Joints and scores of the same shapes.
    """
    empty = np.asarray(~(score > 0).any(axis=(0, 2)))
    if empty.all():
        return keypoint, score
    source = np.where(empty, 0, np.arange(len(empty)))
    source = np.maximum.accumulate(source)
    # Frames before the first person repeat the first frame that has one.
    source[: int(np.argmin(empty))] = int(np.argmin(empty))
    keypoint, score = keypoint[:, source], score[:, source]
    centre = keypoint[0, :, joint][:, None]
    keypoint = keypoint - np.where(np.isfinite(centre), centre, np.float32(0))
    first = keypoint[0, 0]
    turn = _turn_onto(first[upwards[1]] - first[upwards[0]], np.array([0.0, 0.0, 1.0]))
    keypoint = keypoint @ turn.T.astype(np.float32)
    first = keypoint[0, 0]
    line = first[across[1]] - first[across[0]]
    line[2] = 0
    turn = _turn_onto(line, np.array([1.0, 0.0, 0.0]))
    return keypoint @ turn.T.astype(np.float32), score


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


def random_turn(keypoint: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate 3D coordinates about x, then y, then z, by angles drawn from U(-amount, amount), in radians."""
    result = keypoint
    for first, second in ((1, 2), (2, 0), (0, 1)):
        angle = rng.uniform(-amount, amount)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -np.sin(angle)
        result = result @ turn.T.astype(np.float32)
    return result


def follow_two(keypoint: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Restore the order of two persons whose slots were exchanged between frames, together with their scores.

    From each frame to the next, the person closer to the first person's previous position becomes the first. The
    distance is the sum of absolute differences over the joints that all three poses have; without common joints, the
    order stays.

    Args:
        keypoint: float32 (2, T, V, D), NaN where not seen.
        score: float32 (2, T, V).
    """
    now, before = keypoint[0, 1:], keypoint[:, :-1]
    difference = np.abs(now - before).sum(axis=-1)
    common = np.isfinite(difference).all(axis=0)
    stays, changes = np.where(common, difference, 0).sum(axis=-1)
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


def flip(
    keypoint: np.ndarray, score: np.ndarray, flip_indices: np.ndarray, *, middle: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror about x = `middle`; left and right joints are exchanged, together with their scores."""
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
    """Multiply all coordinates by one matrix: ones on the diagonal, U(-amount, amount) elsewhere (PCM3's shear)."""
    dimensions = keypoint.shape[-1]
    matrix = rng.uniform(-amount, amount, (dimensions, dimensions))
    np.fill_diagonal(matrix, 1)
    return keypoint @ matrix.T.astype(np.float32)


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
