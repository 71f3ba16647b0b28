"""Statistics of predictions: accuracies with their spread, paired differences, areas under curves, gains per class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recognition.evaluation.metrics import Metrics, measure

UNANSWERED = -1
# Resampled clips that are held in memory at once.
CHUNK = 2**24


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy of one method under one condition.

    Args:
        mean: Mean over runs and repeats, 0 to 1.
        spread: Standard deviation over runs and repeats (n - 1 in the denominator); None if there is only one.
        each: float64 (runs * repeats,), accuracy of each.
        of_clips: float64 (N,), for each clip the share of runs and repeats that classify it correctly.
    """

    mean: float
    spread: float | None
    each: np.ndarray
    of_clips: np.ndarray


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Compute the accuracy of predictions.

    Args:
        predicted: int (R, N), classes predicted in R runs and repeats; `UNANSWERED` for a clip without persons.
        labels: int (N,), true classes.
    """
    right = predicted == labels
    each = right.mean(axis=1)
    return Accuracy(
        float(each.mean()), float(each.std(ddof=1)) if len(each) > 1 else None, each, right.mean(axis=0, dtype=float)
    )


def bootstrap_difference(
    first: np.ndarray, second: np.ndarray, *, resamples: int, seed: int = 0
) -> tuple[float, float, float]:
    """Return the difference of two accuracies on the same clips, with the 95 % interval of a bootstrap over clips.

    Args:
        first: float (N,), accuracy of the first method on each clip, 0 to 1.
        second: float (N,), accuracy of the second method on the same clips in the same order.
        resamples: Number of bootstrap samples of N clips, drawn with replacement; both methods use the same ones.
        seed: Random seed.

    Returns:
        Mean of first minus mean of second, and the 2.5 % and 97.5 % quantiles of that difference over the resamples.

    Raises:
        ValueError: The arrays do not describe the same clips.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"results of shapes {first.shape} and {second.shape} do not describe the same clips")
    from scipy.stats import bootstrap

    difference = np.asarray(first, float) - second
    if len(difference) == 1:
        # One clip has one resample.
        return (float(difference[0]),) * 3
    found = bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, CHUNK // len(difference)),
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
        axis=-1,
    ).confidence_interval
    return float(difference.mean()), float(found.low), float(found.high)


def area(values: Sequence[float] | np.ndarray) -> float:
    """Return the area under a curve over [0, 1], by the trapezoidal rule.

    Args:
        values: (steps + 1,), evenly spaced, at least two: the first at 0, the last at 1.
    """
    return float(areas(np.asarray(values, float)[:, None])[0])


def areas(values: np.ndarray) -> np.ndarray:
    """Return the areas under N curves, float64 (N,), given their values (steps + 1, N); see `area`."""
    inner: np.ndarray = values.sum(axis=0) - values[0] / 2 - values[-1] / 2
    return inner / (len(values) - 1)


def metrics_of(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> Metrics:
    """Return metrics of predictions, with all runs and repeats counted together.

    Args:
        predicted: int (R, N), classes predicted in R runs and repeats; `UNANSWERED` for a clip without persons.
        labels: int (N,), true classes.
        num_classes: K.

    Raises:
        ValueError: There is no prediction at all.
    """
    flat, truth = predicted.ravel(), np.tile(labels, len(predicted))
    answered = flat != UNANSWERED
    if not answered.any():
        raise ValueError("there is no prediction for any clip")
    return measure(np.eye(num_classes)[flat[answered]], truth[answered], unanswered=truth[~answered])


def class_gains(first: Metrics, second: Metrics) -> np.ndarray:
    """Return float64 (K,), accuracy of the first minus that of the second for each class; NaN without clips."""
    return first.per_class - second.per_class
