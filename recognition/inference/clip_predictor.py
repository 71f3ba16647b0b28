"""What predictors of clips in memory share, whether they run with torch or without. Loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from recognition.data.clip import Clip
from recognition.inference.trained_network import DescribedRun

if TYPE_CHECKING:
    from recognition.inference.explanation import Explanation

# Minimum number of frames with a person for a prediction: fewer show a pose rather than a movement.
FEWEST_FRAMES = 5


def frames_seen(keypoint_score: np.ndarray, threshold: float) -> int:
    """Return the number of frames with at least one joint that was seen, given scores (M, T, V)."""
    return int((keypoint_score > threshold).any(axis=(0, 2)).sum())


@dataclass(frozen=True)
class Classified:
    """Results for N clips, or for N frames of one clip.

    Args:
        probabilities: float32 (N, K), calibrated; each row sums to 1.
        unknown: float64 (N,), unknown scores; larger is less like the known actions.
    """

    probabilities: np.ndarray
    unknown: np.ndarray

    def rows(self) -> "list[Classified]":
        """Return the result of each clip."""
        return [Classified(self.probabilities[row : row + 1], self.unknown[row : row + 1]) for row in range(len(self))]

    def __len__(self) -> int:
        return len(self.unknown)


def best_of(label_names: Sequence[str], probabilities: np.ndarray, count: int) -> tuple[tuple[str, float], ...]:
    """Return the most probable classes of one clip (K,) as (name, probability), the most probable first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple((label_names[number], float(probabilities[number])) for number in order)


class ClipPredictor(Protocol):
    """A recognizer that is ready for predictions; see `recognition.inference.predictor.Predictor`."""

    @property
    def trained(self) -> DescribedRun: ...
    @property
    def threshold(self) -> float: ...
    def prepare(self) -> None: ...
    def classify(self, clips: Sequence[Clip]) -> Classified: ...
    def classify_frames(self, clips: Sequence[Clip]) -> list[Classified]: ...
    def explanations(self, clips: Sequence[Clip]) -> "list[Explanation]": ...
    def persons_used(self, clip: Clip) -> np.ndarray: ...
    def best(self, probabilities: np.ndarray, count: int = 5) -> tuple[tuple[str, float], ...]: ...
