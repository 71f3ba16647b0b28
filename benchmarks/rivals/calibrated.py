"""A rival with a temperature, fitted like ours on left-out groups, such as persons, of its training clips."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.rivals.method import Fitted, Method
from benchmarks.rivals.motion import Annotation
from recognition.confidence.temperature import fit_temperature
from recognition.data.descriptors.kernel_ridge import elsewhere

# Parts of the cross-validation, and the lowest probability that counts: shares of votes may be 0.
PARTS, LOWEST = 5, 1e-3
# Standard deviation of log T in the prior, wider than that of `fit_temperature`: a softmax of the decision values of a
# support vector machine and shares of votes are far from calibrated.
SPREAD = 2.0


class FittedCalibrated(Fitted):
    """A fitted method with a temperature.

    Args:
        fitted: The method, fitted to all clips.
        temperature: Divisor of the logarithms of its probabilities.
        saved: Seconds that work kept from earlier trainings has saved, over all trainings.
    """

    def __init__(self, fitted: Fitted, temperature: float, saved: float) -> None:
        self.facts, self.saved = {**fitted.facts, "temperature": temperature}, saved
        self._fitted, self._temperature = fitted, temperature

    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        from scipy.special import softmax

        scaled: np.ndarray = softmax(_logarithms(self._fitted.probabilities(clips)) / self._temperature, axis=1)
        return scaled


class Calibrated(Method):
    """A method whose temperature has the best likelihood on clips of groups that it was not fitted to.

    Args:
        build: Creates the method.
    """

    def __init__(self, build: Callable[[], Method]) -> None:
        self._build = build

    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        saved, found, truth = 0.0, [], []
        for known, apart in _parts(clips, labels):
            if len(np.unique(labels[known])) < 2:
                # Nothing to tell apart.
                continue
            # Nothing could recognise a class that no other part has.
            apart = apart[np.isin(labels[apart], labels[known])]
            part = self._build().fit([clips[place] for place in known], labels[known], names, seed)
            saved += part.saved
            if len(apart):
                found.append(part.probabilities([clips[place] for place in apart]))
                truth.append(labels[apart])
        fitted = self._build().fit(clips, labels, names, seed)
        temperature = (
            fit_temperature(_logarithms(np.concatenate(found)), np.concatenate(truth), spread=SPREAD) if found else 1.0
        )
        return FittedCalibrated(fitted, temperature, saved + fitted.saved)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, LOWEST))


def _parts(clips: Sequence[Annotation], labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and left-out places of each part, of whole groups if some class occurs in two of them."""
    from sklearn.model_selection import GroupKFold

    names = [clip.get("group") for clip in clips]
    groups = np.array([f"clip {place}" if name is None else f"group {name}" for place, name in enumerate(names)])
    numbers = np.unique(groups, return_inverse=True)[1]
    if not elsewhere(labels, numbers).any():
        numbers = np.arange(len(clips))
    count = min(PARTS, len(np.unique(numbers)))
    return list(GroupKFold(count).split(labels, labels, numbers)) if count > 1 else []
