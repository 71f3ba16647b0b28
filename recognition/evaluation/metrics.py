"""Metrics of classification scores: accuracies, confusions, and confidence intervals.

All clips have equal weight. Intervals assume independent clips; if a few people contributed many clips each, the true
uncertainty is larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Two classes that are confused with each other.

    Args:
        first: Smaller class number.
        second: Larger class number.
        count: S_ij = n_ij + n_ji, clips of either class that are classified as the other.
        share: S_ij divided by all misclassified clips, 0 to 1.
    """

    first: int
    second: int
    count: int
    share: float


@dataclass(frozen=True)
class Metrics:
    """Metrics of a recognizer on one set of clips; shares are in [0, 1].

    Args:
        clips: Number of clips, with or without a prediction.
        unanswered: Number of clips without a prediction because they show no person; they count as failures.
        correct: Number of clips whose most probable class is the true one.
        top1: correct / clips.
        top5: Share of clips whose true class is among the five most probable.
        mean_class: Mean of `per_class` over the classes that have clips.
        per_class: float64 (K,), share of each class's clips that are correct; NaN for a class without clips.
        confusion: int64 (K, K), number of clips of the row's class that are classified as the column's.
        counts: int64 (K,), clips of each class, with or without a prediction.
        confused_pairs: The most confused pairs in descending order of S_ij, without those where S_ij = 0.
    """

    clips: int
    unanswered: int
    correct: int
    top1: float
    top5: float
    mean_class: float
    per_class: np.ndarray
    confusion: np.ndarray
    counts: np.ndarray
    confused_pairs: tuple[ConfusedPair, ...]

    @cached_property
    def top1_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`."""
        return wilson_interval(self.correct, self.clips)


@dataclass(frozen=True, slots=True)
class Answered:
    """Clips with an answer other than "unknown"; all clips are of known actions.

    Args:
        clips: Number of clips.
        answered: How many of them have an answer.
        correct: How many of these answers are correct.
    """

    clips: int
    answered: int
    correct: int

    @property
    def share(self) -> float:
        """Share of the clips that have an answer, in [0, 1]."""
        return self.answered / self.clips

    @property
    def accuracy(self) -> float | None:
        """Share of the answers that are correct, in [0, 1]; None without answers."""
        return self.correct / self.answered if self.answered else None


def answered_of(scores: np.ndarray, labels: np.ndarray, unknown: np.ndarray) -> Answered:
    """Count the clips that have an answer.

    Args:
        scores: (N, K), probabilities or logits.
        labels: int (N,), 0 to K - 1.
        unknown: bool (N,), True for clips that are reported as unknown.
    """
    correct = (scores.argmax(axis=1) == labels) & ~unknown
    return Answered(len(labels), int((~unknown).sum()), int(correct.sum()))


def measure(
    scores: np.ndarray, labels: np.ndarray, *, unanswered: np.ndarray | Sequence[int] = (), pairs: int = 5
) -> Metrics:
    """Compute all metrics of a set of clips.

    Args:
        scores: (N, K), N >= 1, probabilities or logits; larger is more probable.
        labels: int (N,), 0 to K - 1.
        unanswered: int (F,), labels of clips without scores, which count as failures.
        pairs: Number of confused pairs to return.

    Raises:
        ValueError: There are no clips, shapes do not match, a label is out of range, or a score is NaN.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} do not describe the same clips")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()} exceed the range of {scores.shape[1]} classes")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(axis=1).sum())} clips have scores that are NaN")
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
        top5=top_k_accuracy(scores, labels, 5) * len(labels) / total,
        mean_class=float(np.nanmean(per_class)),
        per_class=per_class,
        confusion=confusion,
        counts=counts,
        confused_pairs=most_confused_pairs(confusion, pairs, unanswered=len(unanswered)),
    )


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of clips whose true class is among the k best; ties are broken by the smaller class number.

    Args:
        scores: float (N, K), higher is better; N is at least 1.
        labels: int (N,), true classes from 0 to K - 1.
        k: Number of classes that count, at least 1.

    Returns:
        0 to 1.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of clips of each true class (row) that are classified as each class (column).

    Args:
        labels: int (N,), true classes from 0 to K - 1.
        predicted: int (N,), predicted classes from 0 to K - 1.
        num_classes: K.

    Returns:
        int64 (K, K).
    """
    cells = np.bincount(labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of each class's `counts` clips that are correct, float64 (K,); NaN for a class without clips."""
    return np.divide(np.diag(confusion), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def most_confused_pairs(confusion: np.ndarray, count: int, *, unanswered: int = 0) -> tuple[ConfusedPair, ...]:
    """Rank pairs of classes by the confusion score S_ij = n_ij + n_ji (MaskCLR, supplementary material, section 6).

    Args:
        confusion: int (K, K), rows are the true classes.
        count: Maximum number of pairs.
        unanswered: Number of failures that are not in the matrix.

    Returns:
        The pairs with the largest S_ij in descending order, without pairs that are never confused.
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


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion, which stays within [0, 1] and is accurate close to its ends.

    Args:
        correct: Number of successes, 0 to `total`.
        total: Number of trials, at least 1.
    """
    # Imported here because `measure` also serves training, which needs no intervals.
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    # Rounding errors at the ends must not exclude the proportion itself.
    return min(float(interval.low), correct / total), max(float(interval.high), correct / total)
