"""The interface that trained recognizers and trained detectors share, so that both can answer for clips."""

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from recognition.settings import DataSettings


class SettingsOfClips(Protocol):
    """Settings that say how clips are read."""

    @property
    def data(self) -> DataSettings: ...


class Answering(Protocol):
    """A trained network with what is needed to ask it about clips; see `recognition.runs.Trained`."""

    @property
    def recognizer(self) -> nn.Module: ...
    @property
    def settings(self) -> SettingsOfClips: ...
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
    def path(self) -> Path: ...
