"""Descriptors of movement: a fixed set of numbers that summarises how one person moves, made for few training clips.

Joints are measured from the middle of the hips in units of the torso, and time in seconds, so that neither the place
and size of a person nor the frame rate matters. Scores are not used: they depend on the pose estimator. Joints that
were not seen are interpolated in time; numbers that depend on a joint that is never seen are NaN.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

from pose_extraction.skeleton import COCO17

# Frames per second at which movement is described, and width of the moving average before it, in frames.
RATE = 12.0
SMOOTHING = 3
# Fewest frames of a description; shorter clips are stretched.
FEWEST = 4
# A person of a clip counts if this share of the joints of the person seen most was seen.
SHARE_OF_MOST_SEEN = 0.7

_JOINTS = {name: number for number, name in enumerate(COCO17.joints)}
HIPS = (_JOINTS["left_hip"], _JOINTS["right_hip"])
SHOULDERS = (_JOINTS["left_shoulder"], _JOINTS["right_shoulder"])
_WRISTS = (_JOINTS["left_wrist"], _JOINTS["right_wrist"])
_ANKLES = (_JOINTS["left_ankle"], _JOINTS["right_ankle"])
_NOSE = _JOINTS["nose"]
# Joints whose positions are described: the face counts as one.
PLACED = np.array([_NOSE, *range(5, 17)])
# (a, b, c): angle at joint b.
ANGLES = np.array([(5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16), (7, 5, 11), (8, 6, 12), (5, 11, 13), (6, 12, 14)])
# Bones whose direction in the image is described.
LIMBS = np.array([(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)])
# Pairs of joints whose distance is described.
DISTANCES = np.array([(9, 10), (15, 16), (9, 0), (10, 0), (9, 15), (10, 16)])
# Joints whose movement across the image is described, in addition to that of the hips.
ACROSS = np.array([_NOSE, *_WRISTS, *_ANKLES])
# Joints of both sides whose middle and distance are described.
SIDES = np.array([(7, 8), (9, 10), (13, 14), (15, 16)])
# Shoulder width in torso lengths of an average adult seen from the front: for people whose hips are never seen.
SHOULDERS_TO_TORSO = 1.3

_SIGNALS = 2 * len(PLACED) + len(ANGLES) + 2 * len(LIMBS) + 2 + len(DISTANCES)
# Name and size of each group of numbers, in their order. New groups come last: a classifier that was fitted by an
# earlier version knows the numbers before them.
GROUPS: tuple[tuple[str, int], ...] = (
    ("posture", 4 * _SIGNALS),
    ("spread", _SIGNALS),
    ("speed", 2 * _SIGNALS),
    ("travel", 12),
    ("across", 4 * len(ACROSS)),
    ("sides", 7 * 4 * len(SIDES)),
)
SIZE = sum(size for _, size in GROUPS)


def describe(keypoint: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Describe the movement of one person.

    Args:
        keypoint: float (T, 17, 2), joints in any unit that is the same along x and y; NaN where a joint was not seen.
        time: float64 (T,), ascending times in seconds.

    Returns:
        float32 (SIZE,), the numbers of `GROUPS`: positions, angles, bone directions and distances of joints as mean and
        10th, 50th and 90th percentile; their standard deviation; their mean absolute speed and its deviation; movement
        of the hips (speed, path and range); movement of head, hands and feet across the image; and posture, spread and
        speed of what stays the same when an estimator takes left for right, also in single frames: the middle of both
        elbows, wrists, knees and ankles, and their distance along x and y. NaN where a joint is never seen; all NaN if
        the person is.
    """
    seen = np.flatnonzero(np.isfinite(keypoint).all(axis=-1).any(axis=1))
    if not len(seen):
        return np.full(SIZE, np.nan, np.float32)
    part = slice(seen[0], seen[-1] + 1)
    joints = np.asarray(keypoint[part], np.float64)
    joints = _evenly(np.concatenate([joints, *_of_sides(joints)], axis=1), np.asarray(time[part], np.float64))
    joints = uniform_filter1d(joints, SMOOTHING, axis=0, mode="nearest")
    joints, middle, apart = np.split(joints, [COCO17.num_joints, COCO17.num_joints + len(SIDES)], axis=1)
    hips, shoulders = _middle(joints, HIPS), _middle(joints, SHOULDERS)
    torso = _torso(joints, hips, shoulders)
    root = np.where(np.isfinite(hips), hips, shoulders + np.array([0, torso]))
    if not np.isfinite(root).all():
        present = np.isfinite(joints[0, :, 0])
        root = joints[:, present].mean(axis=1)
    with np.errstate(invalid="ignore"):
        signals = _signals((joints - root[:, None]) / torso, (shoulders - hips) / torso)
        sides = np.concatenate([middle - root[:, None], apart], axis=1).reshape(len(joints), -1) / torso
        numbers = [*_posture(signals), *_speed(signals), *_travel(root / torso), *_across(joints, root, torso)]
        numbers += [*_posture(sides), *_speed(sides)]
    return np.concatenate(numbers).astype(np.float32)


def _of_sides(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of the joints of both sides, and their distance along x and y, each (T, len(SIDES), 2)."""
    left, right = joints[:, SIDES[:, 0]], joints[:, SIDES[:, 1]]
    return (left + right) / 2, np.abs(left - right)


def _evenly(joints: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return joints at `RATE`, gaps filled by linear interpolation; before, averaged over the frames between two."""
    frames, count, _ = joints.shape
    flat = joints.reshape(frames, -1)
    known = np.isfinite(flat)
    for column in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)):
        there = known[:, column]
        flat[:, column] = np.interp(time, time[there], flat[there, column])
    if frames > 1:
        step = float(np.median(np.diff(time)))
        # Most times may be equal, in a file with a wrong time base.
        together = round(1 / (step * RATE)) if step > 0 else 1
        if together > 1:
            flat = uniform_filter1d(flat, together, axis=0, mode="nearest")
    length = max(FEWEST, round((time[-1] - time[0]) * RATE) + 1)
    place = np.interp(np.linspace(time[0], time[-1], length), time, np.arange(frames))
    before = np.minimum(place.astype(np.int64), frames - 1)
    after = np.minimum(before + 1, frames - 1)
    share = (place - before)[:, None]
    return (flat[before] * (1 - share) + flat[after] * share).reshape(length, count, 2)


def _middle(joints: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Return the middle of two joints (T, 2), or the one that was seen."""
    left, right = joints[:, pair[0]], joints[:, pair[1]]
    middle = (left + right) / 2
    return np.where(np.isfinite(middle), middle, np.where(np.isfinite(left), left, right))


def _torso(joints: np.ndarray, hips: np.ndarray, shoulders: np.ndarray) -> float:
    """Return the length of the torso: the 75th percentile, because it looks shorter when people lean forwards."""
    width = SHOULDERS_TO_TORSO * np.linalg.norm(joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]], axis=1)
    lengths = [
        _percentiles(length[:, None], (75,))[0, 0] for length in (np.linalg.norm(shoulders - hips, axis=1), width)
    ]
    found = [length for length in lengths if np.isfinite(length)]
    if not found:
        known = joints[:, np.isfinite(joints[0, :, 0])]
        found = [float(np.ptp(known, axis=(0, 1)).max()) / 3]
    return max(*found, 1e-6)


def _signals(pose: np.ndarray, trunk: np.ndarray) -> np.ndarray:
    """Return what is described over time (T, _SIGNALS), for joints from the hips in torso lengths."""
    first, second = (pose[:, ANGLES[:, side]] - pose[:, ANGLES[:, 1]] for side in (0, 2))
    lengths = np.linalg.norm(first, axis=2) * np.linalg.norm(second, axis=2)
    angles = (first * second).sum(axis=2) / np.maximum(lengths, 1e-6)
    limbs = pose[:, LIMBS[:, 1]] - pose[:, LIMBS[:, 0]]
    limbs /= np.maximum(np.linalg.norm(limbs, axis=2, keepdims=True), 1e-6)
    distances = np.linalg.norm(pose[:, DISTANCES[:, 0]] - pose[:, DISTANCES[:, 1]], axis=2)
    frames = len(pose)
    return np.concatenate(
        [pose[:, PLACED].reshape(frames, -1), angles, limbs.reshape(frames, -1), trunk, distances], axis=1
    )


def _posture(signals: np.ndarray) -> list[np.ndarray]:
    return [signals.mean(axis=0), *_percentiles(signals, (10, 50, 90)), signals.std(axis=0)]


def _speed(signals: np.ndarray) -> list[np.ndarray]:
    change = np.diff(signals, axis=0) * RATE
    return [np.abs(change).mean(axis=0), change.std(axis=0)]


def _travel(root: np.ndarray) -> list[np.ndarray]:
    """Movement of the hips (T, 2) in torso lengths."""
    change = np.diff(uniform_filter1d(root, SMOOTHING, axis=0, mode="nearest"), axis=0) * RATE
    moved = (root[-1] - root[0]) / (len(root) - 1) * RATE
    speed = np.abs(change)
    return [
        speed.mean(axis=0),
        change.std(axis=0),
        _percentiles(speed, (90,))[0],
        moved,
        np.abs(moved),
        np.ptp(root, axis=0),
    ]


def _across(joints: np.ndarray, root: np.ndarray, torso: float) -> list[np.ndarray]:
    placed = (joints[:, ACROSS] - root.mean(axis=0)) / torso
    change = np.abs(np.diff(placed, axis=0)) * RATE
    return [change.mean(axis=0).ravel(), placed.std(axis=0).ravel()]


def _percentiles(values: np.ndarray, percents: tuple[int, ...]) -> np.ndarray:
    """Return percentiles over the first axis, (P, ...), with linear interpolation; faster than NumPy's for few rows."""
    ordered = np.sort(values, axis=0)
    places = np.asarray(percents) / 100 * (len(values) - 1)
    before = places.astype(np.int64)
    share = (places - before)[:, None]
    return ordered[before] * (1 - share) + ordered[np.minimum(before + 1, len(values) - 1)] * share


def describe_clip(keypoint: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Describe the movement of a clip: the mean over its persons.

    Persons who are seen much less than the one seen most, such as bystanders or the rest of a lost track, do not count.

    Args:
        keypoint: float (M, T, 17, 2); see `describe`.
        time: float64 (T,), ascending times in seconds.

    Returns:
        float32 (SIZE,), NaN where a number is unknown for every person.
    """
    persons = np.stack([describe(own, time) for own in keypoint])
    seen = np.isfinite(keypoint).all(axis=-1).sum(axis=(1, 2))
    weights = np.isfinite(persons) * (seen >= SHARE_OF_MOST_SEEN * seen.max())[:, None]
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.nan_to_num(persons) * weights).sum(axis=0) / total
    return mean.astype(np.float32)
