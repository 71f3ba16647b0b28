"""How good scores are: accuracies, confusions and the intervals that say how far they can be trusted.

Every clip counts, whichever it is. Intervals take clips as independent of each other; where a few people made many
clips each, they are narrower than the truth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Standard normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Two classes that are taken for each other.

    Args:
        first: Class number, the smaller.
        second: Class number.
        count: S_ij = n_ij + n_ji, clips of either class taken for the other.
        share: S_ij over all failures, 0 to 1.
    """

    first: int
    second: int
    count: int
    share: float


@dataclass(frozen=True)
class Metrics:
    """What is said of a recognizer on one set of clips; shares are 0 to 1.

    Args:
        clips: Number of clips, answered or not.
        unanswered: How many of them the recognizer was not asked about, since nobody is seen in them: failures, all.
        correct: Number of clips whose best class is the true one.
        top1: correct / clips.
        top1_interval: Wilson's 95 % interval of `top1`.
        top5: Share of clips whose true class is among the five best.
        mean_class: Mean of `per_class` over the classes that have clips.
        per_class: float64 (K,), share of each class's clips that are right; NaN for a class without clips.
        confusion: int64 (K, K), answered clips of the row's class taken for the column's.
        counts: int64 (K,), clips of each class, answered or not.
        confused_pairs: The most confused pairs, the worst first; none with S_ij = 0.
    """

    clips: int
    unanswered: int
    correct: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    mean_class: float
    per_class: np.ndarray
    confusion: np.ndarray
    counts: np.ndarray
    confused_pairs: tuple[ConfusedPair, ...]


def measure(
    scores: np.ndarray, labels: np.ndarray, *, unanswered: np.ndarray | Sequence[int] = (), pairs: int = 5
) -> Metrics:
    """All measures of one set of clips.

    Args:
        scores: (N, K), larger is likelier; probabilities or logits. N is at least 1.
        labels: int (N,), 0 to K - 1.
        unanswered: int (F,), labels of clips without scores, which count as failures.
        pairs: How many confused pairs to tell.

    Raises:
        ValueError: There is no clip, shapes do not fit, a label is no class, or a score is not a number.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} do not describe the same clips")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels {labels.min()} to {labels.max()} are not all among {scores.shape[1]} classes")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(axis=1).sum())} clips have scores that are not numbers")
    confusion = confusion_matrix(labels, scores.argmax(axis=1), scores.shape[1])
    correct = int(np.trace(confusion))
    counts = confusion.sum(axis=1) + np.bincount(np.asarray(unanswered, np.int64), minlength=len(confusion))
    total = len(labels) + len(unanswered)
    per_class = per_class_accuracy(confusion, counts)
    return Metrics(
        clips=total,
        unanswered=len(unanswered),
        correct=correct,
        top1=correct / total,
        top1_interval=wilson_interval(correct, total),
        top5=top_k_accuracy(scores, labels, 5) * len(labels) / total,
        mean_class=float(np.nanmean(per_class)),
        per_class=per_class,
        confusion=confusion,
        counts=counts,
        confused_pairs=most_confused_pairs(confusion, pairs, unanswered=len(unanswered)),
    )


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of clips whose true class is among the k best; of equal scores the smaller class number goes first."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (K, K): number of clips of each true class (row) taken for each class (column)."""
    cells = np.bincount(labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """float64 (K,): share of each class's `counts` clips that are right; NaN for a class without clips."""
    return np.divide(np.diag(confusion), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def most_confused_pairs(confusion: np.ndarray, count: int, *, unanswered: int = 0) -> tuple[ConfusedPair, ...]:
    """Pairs by the confusion score S_ij = n_ij + n_ji (MaskCLR, supplementary material, section 6).

    Args:
        confusion: int (K, K), rows are the truth.
        count: At most so many pairs.
        unanswered: Failures that are not in the matrix.

    Returns:
        The pairs with the largest S_ij, the largest first; pairs that are never confused are left out.
    """
    failures = int(confusion.sum() - np.trace(confusion)) + unanswered
    first, second = np.triu_indices(len(confusion), k=1)
    sums = (confusion + confusion.T)[first, second]
    order = np.argsort(-sums, kind="stable")[:count]
    return tuple(
        ConfusedPair(int(first[place]), int(second[place]), int(sums[place]), float(sums[place] / failures))
        for place in order
        if sums[place]
    )


def wilson_interval(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share, which stays within 0 and 1 and is sound for shares near them.

    Args:
        correct: Successes, 0 to `total`.
        total: Trials, at least 1.
        z: Standard normal quantile; 1.96 is 95 %.
    """
    share = correct / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # At the ends rounding must not shut the share itself out.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def paired_difference(
    correct_a: Sequence[bool] | np.ndarray, correct_b: Sequence[bool] | np.ndarray, z: float = Z95
) -> tuple[float, float, float]:
    """Difference of the accuracies of two models on the same clips, with an interval that knows they are the same.

    Newcombe's hybrid score interval for paired shares (1998, method 10): the Wilson intervals of both shares, put
    together with their correlation. Unlike the interval of McNemar's test it does not shrink to nothing where the
    models differ on no clip.

    Args:
        correct_a: bool (N,), whether the first model is right on each clip.
        correct_b: bool (N,), the second model on the same clips in the same order.
        z: Standard normal quantile; 1.96 is 95 %.

    Returns:
        Accuracy of a minus accuracy of b, and the lower and upper end of its interval, all in -1 to 1.

    Raises:
        ValueError: The two are not about the same number of clips, or there is none.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"results of shapes {a.shape} and {b.shape} are not of the same clips")
    total = len(a)
    both, only_a = int((a & b).sum()), int((a & ~b).sum())
    only_b, neither = int((~a & b).sum()), int((~a & ~b).sum())
    share_a, share_b = (both + only_a) / total, (both + only_b) / total
    low_a, high_a = wilson_interval(both + only_a, total, z)
    low_b, high_b = wilson_interval(both + only_b, total, z)
    product: float = both * neither - only_a * only_b
    spread = math.sqrt((both + only_a) * (only_b + neither)) * math.sqrt((both + only_b) * (only_a + neither))
    if product > 0:
        product = max(product - total / 2, 0.0)
    correlation = product / spread if spread else 0.0
    difference = share_a - share_b
    below = _together(share_a - low_a, high_b - share_b, correlation)
    above = _together(high_a - share_a, share_b - low_b, correlation)
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def _together(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a**2 - 2 * correlation * a * b + b**2))
