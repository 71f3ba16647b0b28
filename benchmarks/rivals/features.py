"""Hand-crafted features of a clip, for classical classifiers.

Joints are relative to the hips, in lengths of the torso, and speeds are per second, so that position and size in the
frame, and the frame rate, do not matter. Scores are not used. A feature of joints that were never seen is NaN.
"""

import itertools
import warnings

import numpy as np

from benchmarks.rivals.motion import Annotation, at_rate, joints_of, main_person, times_of
from pose_extraction.skeleton import COCO17

# Points per second on which features are computed.
RATE = 12.5
QUANTILES = (0.1, 0.5, 0.9)
# Frequency bands of the spectra, in Hz.
BANDS = (0.3, 1.0, 2.0, 3.5, 6.0)
# Quantile over the clip of the torso's length in the image: it shortens when a person bends towards the camera.
TORSO_QUANTILE = 0.8
# Length of the torso relative to the height of the person, if hips or shoulders are never seen.
TORSO_OF_HEIGHT = 0.3
# Spread in torso lengths below which movements are noise and their correlation tends to zero.
STILL = 0.03

_INDEX = {name: number for number, name in enumerate(COCO17.joints)}
SHOULDERS, HIPS = (_INDEX["left_shoulder"], _INDEX["right_shoulder"]), (_INDEX["left_hip"], _INDEX["right_hip"])
# Joints whose movements are correlated with each other.
ENDS = [_INDEX[f"{side}_{joint}"] for joint in ("wrist", "elbow", "ankle", "knee") for side in ("left", "right")]
# Angles at the second joint between the first and the third.
ANGLES = [
    [_INDEX[f"{side}_{joint}"] for joint in joints]
    for joints in (
        ("shoulder", "elbow", "wrist"),
        ("hip", "shoulder", "elbow"),
        ("shoulder", "hip", "knee"),
        ("hip", "knee", "ankle"),
    )
    for side in ("left", "right")
]


def features_of(clip: Annotation, *, mirrored: bool = False, part: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Return the features of a clip's main person.

    Args:
        clip: Annotation with joints of COCO-17, in which a person is visible.
        mirrored: Whether to compute those of the mirror image.
        part: Begin and end of the part that is used, as shares of the clip's duration in [0, 1]. If the person is not
            visible in it, the whole clip is used.

    Returns:
        float64 (F,), NaN where undefined; F is the same for all clips.
    """
    keypoint, score = joints_of(clip)
    person, time = main_person(keypoint, score), times_of(clip)
    if mirrored:
        person = person[:, COCO17.flip_indices] * (-1, 1)
    low, high = time[0] + np.array(part) * (time[-1] - time[0])
    used = (time >= low - 1e-9) & (time <= high + 1e-9)
    if np.isfinite(person[used]).any():
        person, time = person[used], time[used]
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # Means and quantiles of joints that were never seen are NaN, as intended.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = _features(at_rate(person, time, RATE))
    return np.concatenate([values.ravel() for values in found.values()])


def _features(person: np.ndarray) -> dict[str, np.ndarray]:
    """Return the features of joints (G, V, 2) at `RATE`, by kind."""
    centre, torso = _hips(person), _torso(person)
    relative = (person - centre[:, None]) / torso
    hips = centre / torso
    ends = relative[:, ENDS].reshape(len(relative), -1)  # (G, 16)
    return {
        "positions": _statistics(relative.reshape(len(relative), -1)),
        "speeds": _speeds(relative),
        "angles": _statistics(_angles(person)),
        "correlations": _correlations(ends),
        "spectra": _spectra(np.concatenate([ends, hips], axis=1)),
        "movement": _movement(hips),
    }


def _hips(person: np.ndarray) -> np.ndarray:
    """Return the centre of the hips (G, 2), or of the shoulders below which it would be; NaN if neither is seen."""
    hips, shoulders = np.nanmean(person[:, HIPS], axis=1), np.nanmean(person[:, SHOULDERS], axis=1)
    below = np.nanmedian(hips - shoulders, axis=0)
    below = np.where(np.isfinite(below), below, 0)
    return np.where(np.isfinite(hips), hips, shoulders + below)


def _torso(person: np.ndarray) -> float:
    """Return the length of the torso in pixels, above 0."""
    hips, shoulders = np.nanmean(person[:, HIPS], axis=1), np.nanmean(person[:, SHOULDERS], axis=1)
    length = float(np.nanquantile(np.linalg.norm(hips - shoulders, axis=-1), TORSO_QUANTILE))
    height = float(np.nanmax(np.nanmax(person, axis=1) - np.nanmin(person, axis=1)))
    # Seen from above or lying towards the camera, the torso shows no length.
    length = np.nanmax([length, TORSO_OF_HEIGHT * height / 2]) if np.isfinite(length) else TORSO_OF_HEIGHT * height
    return float(length) if length > 0 else 1.0


def _statistics(signals: np.ndarray) -> np.ndarray:
    """Return mean, deviation and `QUANTILES` (2 + Q, N) of signals (G, N)."""
    return np.concatenate([[np.nanmean(signals, axis=0), np.nanstd(signals, axis=0)], _quantiles(signals)])


def _quantiles(signals: np.ndarray) -> np.ndarray:
    """Return `QUANTILES` (Q, N) of signals (G, N) without their NaN, interpolated linearly as in NumPy."""
    ordered, count = np.sort(signals, axis=0), np.isfinite(signals).sum(axis=0)  # NaN comes last
    place = np.array(QUANTILES)[:, None] * np.maximum(count - 1, 0)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    columns = np.arange(signals.shape[1])
    return ordered[low, columns] + (place - low) * (ordered[high, columns] - ordered[low, columns])


def _speeds(relative: np.ndarray) -> np.ndarray:
    """Return statistics of speed, and deviations of velocity along each axis, in torso lengths per second."""
    joints = relative.shape[1]
    if len(relative) < 2:
        return np.full((4 + len(QUANTILES)) * joints, np.nan)
    velocity = np.diff(relative, axis=0) * RATE
    speed = _statistics(np.linalg.norm(velocity, axis=-1))
    return np.concatenate([speed.ravel(), np.nanstd(velocity, axis=0).ravel()])


def _angles(person: np.ndarray) -> np.ndarray:
    """Return the angles at elbows, shoulders, hips and knees, and of the torso to the vertical, in radians (G, 9)."""
    joints = person[:, ANGLES]  # (G, 8, 3, 2)
    first, second = joints[:, :, 0] - joints[:, :, 1], joints[:, :, 2] - joints[:, :, 1]
    upwards = np.nanmean(person[:, SHOULDERS], axis=1) - np.nanmean(person[:, HIPS], axis=1)
    vertical = np.broadcast_to([0.0, -1.0], upwards.shape)
    pairs = [(first, second), (upwards[:, None], vertical[:, None])]
    return np.concatenate([np.abs(np.arctan2(_cross(a, b), (a * b).sum(axis=-1))) for a, b in pairs], axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _correlations(signals: np.ndarray) -> np.ndarray:
    """Return the correlation of every pair of signals (G, N), 0 for signals that hardly move or are not seen."""
    centred = np.nan_to_num(signals - np.nanmean(signals, axis=0))
    spread = np.sqrt((centred**2).mean(axis=0) + STILL**2)
    return (centred.T @ centred / len(centred) / np.outer(spread, spread))[np.triu_indices(signals.shape[1], 1)]


def _spectra(signals: np.ndarray) -> np.ndarray:
    """Return the amplitudes in each of `BANDS` (B, N) of signals (G, N), in torso lengths; trends are removed."""
    length = len(signals)
    steps = np.linspace(-1, 1, length)[:, None] if length > 1 else np.zeros((1, 1))
    filled = np.nan_to_num(signals - np.nanmean(signals, axis=0))
    filled -= steps * (steps * filled).sum(axis=0) / max(float((steps**2).sum()), 1e-9)
    power = np.abs(np.fft.rfft(filled, axis=0)) ** 2 * 2 / length**2
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    bands = [(frequency >= low) & (frequency < high) for low, high in itertools.pairwise(BANDS)]
    return np.sqrt([power[band].sum(axis=0) for band in bands])


def _movement(hips: np.ndarray) -> np.ndarray:
    """Return how far and how fast the hips (G, 2) move across the frame, in torso lengths and per second."""
    seen = hips[np.isfinite(hips).all(axis=1)]
    if len(seen) < 2:
        return np.full(15, np.nan)
    steps = np.diff(hips, axis=0) * RATE
    speed = np.linalg.norm(steps, axis=1)
    net = seen[-1] - seen[0]
    extent = np.ptp(seen, axis=0)
    values = [
        net,
        np.abs(net) * RATE / len(hips),
        extent,
        seen.std(axis=0),
        np.nanmean(np.abs(steps), axis=0),
        np.nanstd(steps, axis=0),
        [np.nanmean(speed)],
        np.quantile(speed[np.isfinite(speed)], [0.5, 0.9]) if np.isfinite(speed).any() else [np.nan, np.nan],
    ]
    return np.concatenate(values)
