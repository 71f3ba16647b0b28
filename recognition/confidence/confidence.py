"""What a run knows about its own certainty: a temperature for its probabilities, and when an action is unknown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from recognition.confidence.feature_distance import FeatureDistance
from recognition.confidence.temperature import fit_temperature
from recognition.confidence.unknown_scores import KINDS, KINDS_OF_LOGITS, spreads_of, unknown_score

# Share of the clips of known actions that the threshold is to keep.
KEPT = 0.95
# Fewest clips from which a threshold that keeps this share can be derived.
FEWEST_FOR_THRESHOLD = math.ceil(KEPT / (1 - KEPT) - 1e-9)
# Unknown score with and without the distance of the features.
WITH_DISTANCE, WITHOUT_DISTANCE = "combined", "entropy"


@dataclass(frozen=True)
class Rejection:
    """When a prediction is reported as unknown. The default never does so.

    Args:
        least_probability: Lowest probability of a reported action, in [0, 1].
        most_unknown: Highest unknown score of a reported action.
    """

    least_probability: float = 0.0
    most_unknown: float = math.inf

    def applies_to(self, probability: float, unknown: float) -> bool:
        """Return whether a prediction is reported as unknown.

        Args:
            probability: Probability of its most probable action, in [0, 1].
            unknown: Its unknown score. NaN, like a NaN probability, is no reason to report it as unknown.
        """
        return probability < self.least_probability or unknown > self.most_unknown


@dataclass(frozen=True)
class Confidence:
    """Calibration of a recognizer, fitted on clips that it was not trained on. The default changes nothing.

    Args:
        temperature: Divisor of the logits, above 0.
        kind: The unknown score, one of `KINDS`.
        threshold: Unknown score above which an action is unknown; None if there were too few clips.
        kept: Expected share of further clips of known actions that stay below the threshold, in [0, 1]; None without.
        clips: Number of clips that it was fitted on.
        distance: Distance of features from those of the training clips, if the unknown score uses it.
        spreads: Spreads of entropy and distance over these clips, for the same; see `unknown_score`.
        doubt: Share of the probability, in [0, 1], that all actions get in equal parts.
        of_descriptors: Whether the unknown score takes the logits of the classifier of descriptors, instead of the
            joint ones. In files of earlier versions it does not.
    """

    temperature: float = 1.0
    kind: str = WITHOUT_DISTANCE
    threshold: float | None = None
    kept: float | None = None
    clips: int = 0
    distance: FeatureDistance | None = None
    spreads: tuple[float, float] = (1.0, 1.0)
    doubt: float = 0.0
    of_descriptors: bool = False

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float32 (N, K), for logits (N, K); computed in float64."""
        # Imported here because this module is loaded to check command lines, too.
        from scipy.special import softmax

        certain = softmax(self._scaled(logits), axis=1)
        return ((1 - self.doubt) * certain + self.doubt / certain.shape[1]).astype(np.float32)

    def unknown(self, logits: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return the unknown score of each clip, float64 (N,); larger is less known.

        Args:
            logits: (N, K), those that the score was fitted on, see `of_descriptors`.
            features: (N, D), descriptors or features of the network, see `Batch.described`; only for `distance`.
        """
        return self._unknown(logits, None if self.distance is None else self.distance(features))

    def _unknown(self, logits: np.ndarray, distance: np.ndarray | None) -> np.ndarray:
        return unknown_score(self.kind, self._scaled(logits), distance, self.spreads)

    def rejection(self, threshold: float | Literal["auto"] | None) -> Rejection:
        """Return when a prediction is unknown.

        Args:
            threshold: Lowest probability of a reported action; "auto" for the stored threshold of the unknown score,
                None for the same if there is one, and otherwise to report every action.

        Raises:
            ValueError: "auto", but there is no stored threshold.
        """
        if threshold is None or threshold == "auto":
            if self.threshold is not None:
                return Rejection(most_unknown=self.threshold)
            if threshold == "auto":
                raise ValueError(f"no threshold was derived from {self.clips} clips")
            return Rejection()
        return Rejection(least_probability=threshold)

    def plain(self) -> dict[str, Any]:
        """Return the content for a run file: numbers, text and lists, which JSON can also hold."""
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        if self.distance is not None:
            arrays = {one.name: getattr(self.distance, one.name) for one in fields(self.distance)}
            content["distance"] = {name: array.tolist() for name, array in arrays.items()}
        return content

    def _scaled(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits, np.float64) / self.temperature


def confidence_from(content: Mapping[str, Any] | None) -> Confidence:
    """Return the confidence stored in a run file; without any, as in older files, that which changes nothing.

    Raises:
        KeyError, TypeError, AttributeError: A value is missing or has the wrong type.
        ValueError: A value is out of range.
    """
    if content is None:
        return Confidence()
    stored = content.get("distance")
    distance = None
    if stored is not None:
        distance = FeatureDistance(**{name: np.asarray(values, np.float64) for name, values in stored.items()})
    found = Confidence(**{**content, "distance": distance, "spreads": tuple(content["spreads"])})
    if not (math.isfinite(found.temperature) and found.temperature > 0):
        raise ValueError(f"confidence.temperature is {found.temperature}, but must be above 0")
    if not 0 <= found.doubt <= 1:
        raise ValueError(f"confidence.doubt is {found.doubt}, but must be in [0, 1]")
    if found.kind not in KINDS:
        raise ValueError(f"confidence.kind is {found.kind!r}, but must be one of {', '.join(KINDS)}")
    if found.kind not in KINDS_OF_LOGITS and distance is None:
        raise ValueError(f"confidence.kind is {found.kind!r}, but there is no confidence.distance")
    return found


def fit_confidence(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    distance: FeatureDistance | None = None,
    distances: np.ndarray | None = None,
    of_descriptors: np.ndarray | None = None,
) -> Confidence:
    """Fit the temperature and the doubt, and derive the threshold of the unknown score.

    The doubt is 1 / (N + 2), by Laplace's rule of succession: if even all of N clips are correct, the next one is with
    a probability of (N + 1) / (N + 2).

    The threshold is that of conformal prediction: the ceil((N + 1) * `KEPT`)-th smallest score of N clips. A further
    clip of a known action stays below it with a probability of at least `KEPT`, whatever the distribution, if it comes
    from the same one. This needs `FEWEST_FOR_THRESHOLD` clips.

    Args:
        logits: (N, K), N >= 1, of clips of known actions that were not trained on: of a held-out part, or of the folds
            of a cross-validation.
        labels: int (N,), their actions, 0 to K - 1.
        distance: Distance of features from those of the training clips, of the network that is stored; None for an
            unknown score that needs none.
        distances: (N,), distances of these clips; in a cross-validation, each from the training clips of its fold, in
            the features of the fold's network. Required with `distance`.
        of_descriptors: (N, K), logits of the classifier of descriptors alone, which the unknown score is then computed
            from; None for `logits`.

    Raises:
        ValueError: There are no clips, shapes do not match, or a number is not finite.
    """
    clips = len(labels)
    found = Confidence(fit_temperature(logits, labels), WITHOUT_DISTANCE, clips=clips, doubt=1 / (clips + 2))
    scored = logits if of_descriptors is None else of_descriptors
    if np.shape(scored) != np.shape(logits):
        raise ValueError(f"of_descriptors has shape {np.shape(scored)}, but logits have {np.shape(logits)}")
    found = replace(found, of_descriptors=of_descriptors is not None)
    if distance is not None:
        if distances is None or np.shape(distances) != (clips,) or not np.isfinite(distances).all():
            raise ValueError(f"distances must be {clips} finite numbers, one per clip")
        spreads = spreads_of(found._scaled(scored), distances)
        found = replace(found, kind=WITH_DISTANCE, distance=distance, spreads=spreads)
    if clips < FEWEST_FOR_THRESHOLD:
        return found
    rank = math.ceil((clips + 1) * KEPT - 1e-9)
    threshold = float(np.sort(found._unknown(scored, distances))[rank - 1])
    return replace(found, threshold=threshold, kept=rank / (clips + 1))


def fit_on_finite(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    distance: FeatureDistance,
    distances: np.ndarray,
    of_descriptors: np.ndarray | None = None,
) -> Confidence | None:
    """Fit the confidence on the clips whose logits and distances are finite; None if there are none.

    Args:
        logits: (N, K); NaN for clips without output.
        labels: int (N,).
        distance: See `fit_confidence`.
        distances: (N,); NaN for clips that cannot be compared.
        of_descriptors: (N, K) or None, see `fit_confidence`; not finite where `logits` are not.
    """
    usable = np.isfinite(logits).all(axis=1) & np.isfinite(distances)
    if not usable.any():
        return None
    return fit_confidence(
        logits[usable],
        labels[usable],
        distance=distance,
        distances=distances[usable],
        of_descriptors=None if of_descriptors is None else of_descriptors[usable],
    )
