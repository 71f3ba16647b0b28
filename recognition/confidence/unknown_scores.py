"""Scores of how unlike the known actions a clip is; larger is less known.

    max_probability   1 - max softmax(z)                              Hendrycks and Gimpel, 2017
    entropy           entropy of softmax(z)
    max_logit         - max z                                         Hendrycks et al., 2022
    energy            - log sum exp z                                 Liu et al., 2020
    distance          relative Mahalanobis distance of the features   Ren et al., 2021
    combined          entropy and distance, each divided by its spread over clips of known actions

where z are the logits divided by the temperature. `benchmarks/confidence.py` compares them.
"""

import math
from collections.abc import Callable

import numpy as np

# Deciles of a score between which its spread is measured.
LOW, HIGH = 0.1, 0.9
# Smallest spread of the entropy, as a share of its maximum, and of the distance. A recognizer that is certain of every
# held-out clip must not make the slightest doubt decide.
LEAST_ENTROPY, LEAST_DISTANCE = 0.1, 1.0


def _max_probability(logits: np.ndarray) -> np.ndarray:
    # SciPy is imported inside functions because command lines are checked before it is needed.
    from scipy.special import softmax

    score: np.ndarray = 1 - softmax(logits, axis=1).max(axis=1)
    return score


def _entropy(logits: np.ndarray) -> np.ndarray:
    from scipy.special import entr, softmax

    score: np.ndarray = entr(softmax(logits, axis=1)).sum(axis=1)
    return score


def _max_logit(logits: np.ndarray) -> np.ndarray:
    score: np.ndarray = -logits.max(axis=1)
    return score


def _energy(logits: np.ndarray) -> np.ndarray:
    from scipy.special import logsumexp

    score: np.ndarray = -logsumexp(logits, axis=1)
    return score


_OF_LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_probability": _max_probability,
    "entropy": _entropy,
    "max_logit": _max_logit,
    "energy": _energy,
}
KINDS_OF_LOGITS = tuple(_OF_LOGITS)
KINDS = (*KINDS_OF_LOGITS, "distance", "combined")


def unknown_score(
    kind: str,
    logits: np.ndarray,
    distance: np.ndarray | None = None,
    spreads: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Return the score of N clips, float64 (N,).

    Args:
        kind: One of `KINDS`.
        logits: (N, K), divided by the temperature.
        distance: (N,), see `FeatureDistance`; required for `distance` and `combined`.
        spreads: Those of entropy and distance, for `combined`; see `spreads_of`.

    Raises:
        ValueError: There is no such score, or it requires the distance.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown score {kind!r}: must be one of {', '.join(KINDS)}")
    logits = np.asarray(logits, np.float64)
    if kind in _OF_LOGITS:
        return _OF_LOGITS[kind](logits)
    if distance is None:
        raise ValueError(f"unknown score {kind!r} requires the distance of the features")
    if kind == "distance":
        return distance
    of_entropy, of_distance = spreads
    score: np.ndarray = _entropy(logits) / of_entropy + distance / of_distance
    return score


def spreads_of(logits: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Return the spreads of entropy and distance over N clips of known actions: from the first to the last decile.

    Args:
        logits: (N, K), divided by the temperature.
        distance: (N,), see `FeatureDistance`.
    """
    entropies = _entropy(np.asarray(logits, np.float64))
    of_entropy, of_distance = (float(np.subtract(*np.quantile(one, [HIGH, LOW]))) for one in (entropies, distance))
    return max(of_entropy, LEAST_ENTROPY * math.log(max(logits.shape[1], 2))), max(of_distance, LEAST_DISTANCE)
