"""What the bench needs of a method: to be fitted to clips, and to give probabilities for others."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.rivals.motion import Annotation


class Fitted(ABC):
    """A method after training.

    Attributes:
        facts: What was chosen or measured in training, for the results.
        saved: Seconds of the training that work kept from earlier trainings has saved.
    """

    facts: dict[str, Any]
    saved: float = 0.0

    @abstractmethod
    def probabilities(self, clips: Sequence[Annotation]) -> np.ndarray:
        """Return the probabilities of N clips, each of which shows a person: (N, K), rows sum to 1."""

    def unknown(self, clips: Sequence[Annotation], probabilities: np.ndarray) -> np.ndarray:
        """Return how likely each clip shows none of the classes, (N,), on any scale.

        Args:
            clips: N clips.
            probabilities: (N, K), their probabilities.
        """
        return 1 - probabilities.max(axis=1)


class Method(ABC):
    """A method before training."""

    @abstractmethod
    def fit(self, clips: Sequence[Annotation], labels: np.ndarray, names: Sequence[str], seed: int) -> Fitted:
        """Train on clips.

        Args:
            clips: N annotations with joints of COCO-17; each shows a person.
            labels: int (N,), class numbers from 0 to K - 1.
            names: K class names.
            seed: Seed of everything that is random.
        """
