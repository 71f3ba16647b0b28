"""The interface that trained recognizers, trained detectors and exported recognizers share. Loads no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recognition.confidence.confidence import Confidence
from recognition.packed import is_packed
from recognition.run_names import shown
from recognition.settings import DataSettings

if TYPE_CHECKING:
    from torch import nn


class HasDataSettings(Protocol):
    """Settings that define how clips are read."""

    @property
    def data(self) -> DataSettings: ...


class DescribedRun(Protocol):
    """Everything that is known about a trained network besides its weights; see `recognition.runs.Trained`."""

    @property
    def settings(self) -> HasDataSettings: ...
    @property
    def label_names(self) -> tuple[str, ...]: ...
    @property
    def layout(self) -> str: ...
    @property
    def dimensions(self) -> int | None: ...
    @property
    def estimator(self) -> str | None: ...
    @property
    def extraction(self) -> dict[str, Any]: ...
    @property
    def confidence(self) -> Confidence: ...
    @property
    def path(self) -> Path: ...


class TrainedNetwork(DescribedRun, Protocol):
    """A trained network with everything that is required to classify clips with torch."""

    @property
    def recognizer(self) -> "nn.Module": ...


def is_used_to(trained: DescribedRun, estimators: str) -> bool:
    """Return whether a run is meant for skeletons of these estimators, as far as both are known.

    Args:
        trained: The run.
        estimators: Names as in a skeleton file: of one estimator, or of several, separated by commas.
    """
    return not trained.estimator or set(estimators.split(", ")) <= set(trained.estimator.split(", "))


def estimator_note(trained: DescribedRun) -> str:
    """Return how a run is related to its estimator: the beginning of a sentence.

    Weights of the package may be trained on skeletons of other origin, such as joints that were labelled by hand. So
    may the run behind an exported recognizer.
    """
    name = shown(trained.path)
    if is_packed(trained.path):
        return f"{name} extracts with {trained.estimator}, and was measured with it"
    if trained.path.is_dir():
        return f"{name} extracts with {trained.estimator}"
    return f"{name} was trained on skeletons of {trained.estimator}"
