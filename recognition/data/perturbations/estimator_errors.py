"""Statistics of the differences between two pose estimators on the same clips, and their replay as noise.

Measured per joint: the distribution of its displacement from the first estimator to the second along each axis, in
    units of the longest side of the person's box in that frame; the correlation of displacements in neighbouring
    frames; how often and for how long the second misses a joint that the first sees; and the scores of both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recognition.data.clip import Clip
from recognition.data.perturbations.base import Space, drop_joints

# Number of equidistant quantiles that represent a distribution.
QUANTILES = 101
# Fewest frames in which both estimators must see a joint for its distribution to be measured.
FEWEST = 20
# Largest mean joint distance, in sides of the box, at which two persons are considered the same.
FARTHEST = 0.5


@dataclass(frozen=True)
class ErrorStatistics:
    """Result of `measure_errors`.

    Args:
        displacement: float64 (V, D, QUANTILES), quantiles along each axis; zeros for joints seen too rarely.
        correlation: float64 (V,), correlation of displacements in neighbouring frames, averaged over the axes, 0 to 1.
        missed: float64 (V,), share of the frames in which the first sees the joint and the second does not.
        still_missed: float64 (V,), of those that are followed by a frame in which the first sees the joint, the share
            in which the second still misses it.
        score_from: float64 (QUANTILES,), quantiles of the first's scores where both see a joint.
        score_to: float64 (QUANTILES,), quantiles of the second's scores there.
        clips: Number of compared clips.
        pairs: Number of joints in frames that both see.
    """

    displacement: np.ndarray
    correlation: np.ndarray
    missed: np.ndarray
    still_missed: np.ndarray
    score_from: np.ndarray
    score_to: np.ndarray
    clips: int
    pairs: int


def measure_errors(pairs: Iterable[tuple[Clip, Clip]]) -> ErrorStatistics | None:
    """Measure the statistics over clips of two estimators; return None if no persons could be matched.

    Args:
        pairs: The same clips from the first and from the second estimator. Clips with different numbers of frames,
            joints or axes are skipped. If frame sizes differ, the second's pixels are converted to the first's frame.
            Persons are matched by the distance of their joints over the clip.
    """
    displacements, seen_pairs, first_scores, second_scores = [], [], [], []
    clips = 0
    for first, second in pairs:
        if first.keypoint.shape[1:] != second.keypoint.shape[1:]:
            continue
        other = _in_frame_of(first, second)
        matched = _matched_persons(first.keypoint, other)
        clips += bool(matched)
        for a, b in matched:
            side = _box_side(first.keypoint[a])  # (T,)
            displacements.append((other[b] - first.keypoint[a]) / side[:, None, None])  # NaN unless both saw
            sees, sees_too = first.score[a] > 0, second.score[b] > 0
            seen_pairs.append((sees, sees & ~sees_too))
            first_scores.append(first.score[a][sees & sees_too])
            second_scores.append(second.score[b][sees & sees_too])
    if not displacements:
        return None
    displacement, correlation = _displacement_statistics(displacements)
    missed, still_missed = _missed_shares(seen_pairs)
    scores = [np.concatenate(parts).astype(np.float64) for parts in (first_scores, second_scores)]
    steps = np.linspace(0, 1, QUANTILES)
    known_scores = len(scores[0]) > 0
    return ErrorStatistics(
        displacement=displacement,
        correlation=correlation,
        missed=missed,
        still_missed=still_missed,
        score_from=np.quantile(scores[0], steps) if known_scores else steps,
        score_to=np.quantile(scores[1], steps) if known_scores else steps,
        clips=clips,
        pairs=len(scores[0]),
    )


def _displacement_statistics(displacements: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles (V, D, Q) of displacements (T, V, D), and their correlation between frames (V,)."""
    together = np.concatenate(displacements).astype(np.float64)
    steps = np.linspace(0, 1, QUANTILES)
    joints, axes = together.shape[1:]
    quantiles, correlation = np.zeros((joints, axes, QUANTILES)), np.zeros(joints)
    for joint in range(joints):
        known = together[np.isfinite(together[:, joint]).all(axis=-1), joint]
        if len(known) >= FEWEST:
            quantiles[joint] = np.quantile(known, steps, axis=0).T
            correlation[joint] = _neighbour_correlation([clip[:, joint] for clip in displacements], known.mean(axis=0))
    return quantiles, correlation


def _missed_shares(seen_pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of joints that are missed (V,), and that are missed again in the next frame (V,).

    Args:
        seen_pairs: Which joints the first estimator sees, bool (T, V), and which of them the second misses.
    """
    sees = np.concatenate([one for one, _ in seen_pairs])
    misses = np.concatenate([one for _, one in seen_pairs])
    goes_on = [(misses[:-1] & sees[1:], misses[:-1] & misses[1:]) for sees, misses in seen_pairs]
    followed = np.sum([one.sum(axis=0) for one, _ in goes_on], axis=0)
    still = np.sum([one.sum(axis=0) for _, one in goes_on], axis=0)
    return misses.sum(axis=0) / np.maximum(sees.sum(axis=0), 1), still / np.maximum(followed, 1)


@dataclass(frozen=True)
class EstimatorErrors:
    """Replays the differences between two estimators on skeletons of the first.

    Displacements have the measured distribution of each joint and the measured correlation between neighbouring frames.
    Missed joints come in runs of the measured length. A score is replaced by the second's score of the same rank.

    Args:
        statistics: The measured statistics.
        strength: Factor, 0 or more, of displacements and of the missed share; up to 1 it also interpolates scores
            towards the second's. 1 replays the measurement, 0 changes nothing.
    """

    statistics: ErrorStatistics
    strength: float = 1.0

    @property
    def space(self) -> Space:
        return "camera"

    def __call__(
        self,
        keypoint: np.ndarray,
        score: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        # Imported here and below because every data set imports this module, and few runs use it.
        from scipy.special import ndtr

        found, strength = self.statistics, self.strength
        joints, axes = keypoint.shape[2:]
        normal = _correlated_normal(rng, keypoint.shape, found.correlation[:, None])
        steps = np.linspace(0, 1, QUANTILES)
        share = ndtr(normal)
        moved = np.empty_like(keypoint)
        # A single visible joint has no box to scale by, and is not displaced.
        side = np.nan_to_num(np.stack([_box_side(person) for person in keypoint]))
        for joint in range(joints):
            for axis in range(axes):
                error = np.interp(share[:, :, joint, axis], steps, found.displacement[joint, axis])
                moved[:, :, joint, axis] = keypoint[:, :, joint, axis] + (strength * error * side).astype(np.float32)
        gone = _stretches(rng, score.shape, np.clip(found.missed * strength, 0, 1), found.still_missed)
        likened = score
        if strength:
            target = np.interp(score, found.score_from, found.score_to)
            mixed = score + min(strength, 1.0) * (target - score)
            # Keep visible joints visible: only `gone` removes joints.
            likened = np.where(score > 0, np.maximum(mixed, np.finfo(np.float32).tiny), 0).astype(np.float32)
        return drop_joints(moved, likened, gone, np.nan)


def _in_frame_of(first: Clip, second: Clip) -> np.ndarray:
    """Return the second clip's joints in pixels of the first's frame; unchanged in 3D, which has no frame."""
    if first.size is None or second.size is None:
        return second.keypoint
    (height, width), (own_height, own_width) = first.size, second.size
    return second.keypoint * np.array([width / own_width, height / own_height], np.float32)


def _box_side(person: np.ndarray) -> np.ndarray:
    """Return the longest side (T,) of the box around the visible joints of (T, V, D); NaN if there is no box."""
    seen = np.isfinite(person)
    low = np.where(seen, person, np.inf).min(axis=1)
    high = np.where(seen, person, -np.inf).max(axis=1)
    side = (high - low).max(axis=-1)
    return np.where(side > 0, side, np.nan)


def _matched_persons(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """Return index pairs of the same persons, (M, T, V, D) each, of two estimators."""
    from scipy.optimize import linear_sum_assignment

    distance = np.full((len(first), len(second)), np.inf)
    for a, person in enumerate(first):
        side = _box_side(person)[:, None]
        for b, other in enumerate(second):
            apart = np.linalg.norm(other - person, axis=-1) / side
            if np.isfinite(apart).any():
                distance[a, b] = np.nanmean(apart)
    rows, columns = linear_sum_assignment(np.where(np.isfinite(distance), distance, 1e6))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if distance[a, b] <= FARTHEST]


def _neighbour_correlation(clips: list[np.ndarray], mean: np.ndarray) -> float:
    """Return the correlation of displacements (T, D) with the next frame's, averaged over the axes, at least 0."""
    before = np.concatenate([clip[:-1] for clip in clips]) - mean
    after = np.concatenate([clip[1:] for clip in clips]) - mean
    both = np.isfinite(before).all(axis=-1) & np.isfinite(after).all(axis=-1)
    before, after = before[both], after[both]
    spread = np.sqrt((before**2).sum(axis=0) * (after**2).sum(axis=0))
    if not len(before) or not spread.all():
        return 0.0
    return float(np.clip(((before * after).sum(axis=0) / spread).mean(), 0, 1))


def _correlated_normal(rng: np.random.Generator, shape: tuple[int, ...], correlation: np.ndarray) -> np.ndarray:
    """Return standard normal numbers (M, T, V, D), each frame correlated with the previous one."""
    normal = rng.standard_normal(shape)
    rest = np.sqrt(1 - correlation**2)
    for frame in range(1, shape[1]):
        normal[:, frame] = correlation * normal[:, frame - 1] + rest * normal[:, frame]
    return normal


def _stretches(
    rng: np.random.Generator, shape: tuple[int, int, int], share: np.ndarray, stays: np.ndarray
) -> np.ndarray:
    """Return bool (M, T, V), True in a share (V,) of the frames; True persists with probability `stays` (V,)."""
    # The smallest persistence for which a Markov chain can have `share` as its mean.
    stays = np.maximum(stays, np.where(share > 0, 2 - 1 / np.maximum(share, 1e-12), 0))
    begins = np.where(share < 1, share * (1 - stays) / np.maximum(1 - share, 1e-12), 1)
    drawn = rng.random(shape)
    state = np.zeros(shape, bool)
    state[:, 0] = drawn[:, 0] < share
    for frame in range(1, shape[1]):
        state[:, frame] = drawn[:, frame] < np.where(state[:, frame - 1], stays, begins)
    return state
