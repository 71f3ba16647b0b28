"""The interface that trained recognizers, trained detectors and exported recognizers share. Loads no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recognition.confidence.confidence import Confidence
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
