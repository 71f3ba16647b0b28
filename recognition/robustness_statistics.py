"""Numbers out of answers: accuracies with their spread, paired differences, areas under curves, gains of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recognition.evaluation import Metrics, measure

UNANSWERED = -1
# Resampled clips that are held at once.
CHUNK = 2**24


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of one method under one condition.

    Args:
        mean: Over its runs and repeats, 0 to 1.
        spread: Standard deviation over them, with n - 1; None where there is one.
        each: float64 (runs * repeats,).
        of_clips: float64 (N,), share of its runs and repeats that are right on each clip.
    """

    mean: float
    spread: float | None
    each: np.ndarray
    of_clips: np.ndarray


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Accuracy of answers.

    Args:
        predicted: int (R, N) classes that R runs and repeats say, `UNANSWERED` for a clip without anybody.
        labels: int (N,).
    """
    right = predicted == labels
    each = right.mean(axis=1)
    return Accuracy(
        float(each.mean()), float(each.std(ddof=1)) if len(each) > 1 else None, each, right.mean(axis=0, dtype=float)
    )


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, resamples: int, seed: int = 0
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same clips, with the 95 % interval of a bootstrap over clips.

    Args:
        first: float (N,), how right the first is on each clip, 0 to 1.
        second: float (N,), the second on the same clips in the same order.
        resamples: Times that N clips are drawn with replacement, the same ones for both.
        seed: Of the draws.

    Returns:
        Mean of first minus mean of second, and the 2.5 % and 97.5 % quantiles of it over the resamples.

    Raises:
        ValueError: The two are not about the same clips.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"results of shapes {first.shape} and {second.shape} are not of the same clips")
    difference = np.asarray(first, float) - second
    clips = len(difference)
    rng = np.random.default_rng(seed)
    drawn = []
    at_once = max(1, CHUNK // clips)
    for start in range(0, resamples, at_once):
        picked = rng.integers(clips, size=(min(at_once, resamples - start), clips))
        drawn.append(difference[picked].mean(axis=1))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


def area(values: Sequence[float] | np.ndarray) -> float:
    """Area under a curve of evenly spaced values over 0 to 1, by trapezoids."""
    return float(areas(np.asarray(values, float)[:, None])[0])


def areas(values: np.ndarray) -> np.ndarray:
    """float64 (N,), the areas under N curves, float (steps + 1, N), as `area` has that under one."""
    inner: np.ndarray = values.sum(axis=0) - values[0] / 2 - values[-1] / 2
    return inner / (len(values) - 1)


def metrics_of(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> Metrics:
    """Confusions and accuracies of classes of answers (R, N), all runs and repeats counted together.

    Raises:
        ValueError: None of them is an answer.
    """
    flat, truth = predicted.ravel(), np.tile(labels, len(predicted))
    answered = flat != UNANSWERED
    if not answered.any():
        raise ValueError("no clip was answered")
    return measure(np.eye(num_classes)[flat[answered]], truth[answered], unanswered=truth[~answered])


def class_gains(first: Metrics, second: Metrics) -> np.ndarray:
    """float64 (K,): by how much the first is more accurate than the second on each class; NaN without clips."""
    return first.per_class - second.per_class
