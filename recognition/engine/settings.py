"""Settings that every kind of training has, as protocols: each kind defines its own settings with these names."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, Self

from recognition.settings import DataSettings


class Machines(Protocol):
    """Settings that determine where a training runs."""

    @property
    def device(self) -> str: ...

    @property
    def devices(self) -> int | Literal["auto"]: ...

    @property
    def nodes(self) -> int: ...


class LoopSettings(Machines, Protocol):
    """Settings under `training`."""

    @property
    def batch_size(self) -> int: ...

    @property
    def accumulate(self) -> int: ...

    @property
    def clip_gradient(self) -> float | None: ...

    @property
    def seed(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def checkpoint_minutes(self) -> float: ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self: ...


class AnyRunSettings(Protocol):
    """Settings of any kind of run."""

    @property
    def out(self) -> str: ...

    @property
    def data(self) -> DataSettings: ...

    @property
    def training(self) -> LoopSettings: ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self: ...
