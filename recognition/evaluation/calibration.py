"""Calibration of probabilities: whether a recognizer is correct as often as it claims to be.

The expected calibration error of few clips is far above zero even for exact probabilities, because the accuracy in a
bin is an estimate from its few clips. `Calibration.ece_if_exact` tells how much of the error that explains.
"""

from dataclasses import dataclass

import numpy as np

from recognition.evaluation.metrics import wilson_interval

BINS = 10
# Simulated outcomes from which the error of exact probabilities is computed.
DRAWS = 1000


@dataclass(frozen=True)
class Bin:
    """Clips whose probability of the predicted class lies in one interval.

    Args:
        low: Lower border of the interval, in [0, 1].
        high: Upper border; part of the interval in the last bin only.
        clips: Number of clips, at least 1.
        confidence: Mean probability of the predicted class.
        accuracy: Share of clips that are correct.
        interval: Wilson's 95 % interval of the accuracy.
    """

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """Calibration of the probabilities of N clips.

    Args:
        clips: N.
        ece: Expected calibration error, in [0, 1]: mean over clips of |accuracy - confidence| of their bin (Guo et al.,
            2017, eq. 3).
        ece_if_exact: Mean of the same error if each clip were correct with exactly its probability.
        brier: Brier score, in [0, 2]: mean over clips of the sum over classes of (probability - truth)^2.
        bins: Bins that contain clips, by rising probability.
    """

    clips: int
    ece: float
    ece_if_exact: float
    brier: float
    bins: tuple[Bin, ...]


def calibration_of(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> Calibration:
    """Measure the calibration of probabilities, in bins of equal width.

    Args:
        probabilities: (N, K), N >= 1; each row sums to 1.
        labels: int (N,), 0 to K - 1.
        bins: Number of intervals into which [0, 1] is divided.

    Raises:
        ValueError: There are no clips, shapes do not match, or a number is not a probability.
    """
    exact, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if exact.ndim != 2 or labels.shape != exact.shape[:1] or not len(labels):
        raise ValueError(f"probabilities {exact.shape} and labels {labels.shape} do not describe the same clips")
    if not (np.isfinite(exact).all() and exact.min() >= 0 and np.allclose(exact.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("rows of probabilities must be in [0, 1] and sum to 1")
    confidence, correct = exact.max(axis=1), exact.argmax(axis=1) == labels
    number = _numbers(confidence, bins)
    truth = np.eye(exact.shape[1])[labels]
    ece, ece_if_exact = calibration_errors(confidence, correct, bins=bins)
    return Calibration(
        clips=len(labels),
        ece=ece,
        ece_if_exact=ece_if_exact,
        brier=float(((exact - truth) ** 2).sum(axis=1).mean()),
        bins=tuple(_bin(confidence, correct, number == one, one / bins, (one + 1) / bins) for one in np.unique(number)),
    )


def calibration_errors(confidence: np.ndarray, correct: np.ndarray, *, bins: int = BINS) -> tuple[float, float]:
    """Return `Calibration.ece` and `Calibration.ece_if_exact`.

    Args:
        confidence: float (N,), N >= 1, probability of the predicted class, in [0, 1].
        correct: bool (N,), whether the prediction is correct.
        bins: Number of intervals into which [0, 1] is divided.
    """
    number = _numbers(confidence, bins)
    # As often correct as the confidence says: the same draws for the same clips.
    drawn = np.random.default_rng(0).uniform(size=(DRAWS, len(confidence))) < confidence
    return float(_error(confidence, correct[None], number)[0]), float(_error(confidence, drawn, number).mean())


def _numbers(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Return the number of the bin of each clip, int64 (N,)."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _error(confidence: np.ndarray, correct: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the expected calibration error (D,) for outcomes bool (D, N) of clips in the bins int (N,)."""
    excess = correct - confidence
    of_bins = np.stack([excess[:, number == one].sum(axis=1) for one in np.unique(number)])
    error: np.ndarray = np.abs(of_bins).sum(axis=0) / len(confidence)
    return error


def _bin(confidence: np.ndarray, correct: np.ndarray, inside: np.ndarray, low: float, high: float) -> Bin:
    clips, hits = int(inside.sum()), int(correct[inside].sum())
    mean = float(confidence[inside].mean())
    return Bin(float(low), float(high), clips, mean, hits / clips, wilson_interval(hits, clips))
