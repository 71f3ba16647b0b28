"""The interface that trained recognizers and trained detectors share, so that both can classify clips."""

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from recognition.confidence.confidence import Confidence
from recognition.settings import DataSettings


class HasDataSettings(Protocol):
    """Settings that define how clips are read."""

    @property
    def data(self) -> DataSettings: ...


class TrainedNetwork(Protocol):
    """A trained network with everything that is required to classify clips; see `recognition.runs.Trained`."""

    @property
    def recognizer(self) -> nn.Module: ...
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
