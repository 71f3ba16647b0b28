"""Preparation that every training needs: its clips and layout, and settings that depend on data or machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.skeleton import Skeleton
from recognition.data.batches import CHANNELS
from recognition.data.clip_transforms import check_placement, flip_probability
from recognition.data.clips import ClipSet
from recognition.engine.settings import AnyRunSettings, LoopSettings
from recognition.run_names import RUNS
from recognition.settings import DataSettings

Settings = TypeVar("Settings", bound=AnyRunSettings)


@dataclass(frozen=True)
class PreparedRun(Generic[Settings]):
    """Data and resolved settings of a run before its first step.

    Args:
        settings: Resolved settings.
        clips: The skeleton file.
        training: int (N,), indices of the training clips.
        held_out: int (H,), indices of the clips that select the best epoch.
        layout: Joint layout that the network sees.
        left_out: Clips of the file that are not used, one sentence each.
        notes: Notes for the user, one sentence each.
    """

    settings: Settings
    clips: ClipSet
    training: np.ndarray
    held_out: np.ndarray
    layout: Skeleton
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """C of the network's input."""
        return CHANNELS

    @property
    def label_names(self) -> list[str]:
        """Names of the classes that are learned, in the order of the logits."""
        return self.clips.label_names

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of the skeleton file's content."""
        return self.clips.content_digest()

    def at(self, folder: Path) -> Self:
        """Return the same run in another directory."""
        return self.with_settings(self.settings.model_copy(update={"out": str(folder)}))

    def with_settings(self, settings: Settings) -> Self:
        """Return the same run with other resolved settings."""
        return replace(self, settings=settings)

    def split(self) -> dict[str, list[str]]:
        """Return the names of training and held-out clips, and sentences about those left out."""
        parts = {"training": self.training, "held_out": self.held_out}
        names = {name: [self.clips.names[index] for index in indices] for name, indices in parts.items()}
        return names | {"left_out": list(self.left_out)}

    def composition(self) -> dict[str, Any]:
        """Return the clips of each class in both parts, and the number of groups, such as persons, if there are any."""
        parts = {"training": self.training, "held_out": self.held_out}
        count = len(self.label_names)
        clips = {
            part: np.bincount(labels[labels >= 0], minlength=count).tolist()
            for part, labels in ((part, self.clips.labels[indices]) for part, indices in parts.items())
        }
        groups = {part: {self.clips.groups[index] for index in indices} - {None} for part, indices in parts.items()}
        in_both = len(groups["training"] & groups["held_out"])
        return {"clips": clips, "groups": {part: len(own) for part, own in groups.items()} | {"both": in_both}}


def check_accumulation(training: LoopSettings) -> None:
    """Refuse batches that cannot be divided into equal micro-batches.

    Raises:
        UsageError: The batch size is not a multiple of the number of micro-batches.
    """
    if training.batch_size % training.accumulate:
        raise UsageError(
            f"training.batch_size {training.batch_size} cannot be divided into training.accumulate "
            f"{training.accumulate} equal micro-batches"
        )


def check_transforms(clips: ClipSet, data: DataSettings, layout: Skeleton) -> None:
    """Refuse placements, rotations and mirroring that the joints of a file do not support.

    Raises:
        UsageError: The joints do not support one of them.
    """
    check_placement(clips, data)
    flip_probability(data, layout)


def resolve(
    settings: Settings,
    *,
    clips: ClipSet,
    layout: Skeleton,
    engine: Engine,
    name: str,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **sections: Any,
) -> Settings:
    """Resolve the settings that every kind of run has: directory, file, layout, device and precision.

    Args:
        settings: Settings of the run.
        clips: The skeleton file.
        layout: Joint layout that the network sees.
        engine: Resolved device and precision.
        name: End of the run directory's automatic name, after the name of the file.
        data: Further resolved data settings.
        training: Further resolved settings of the training.
        **sections: Other resolved settings.
    """
    machine = {"device": engine.device, "precision": engine.precision}
    files = {
        "file": str(clips.path.resolve()),
        "keypoint_files": absolute(settings.data.keypoint_files),
        "model_layout": layout.name,
    }
    return settings.model_copy(
        update={
            "out": str(RUNS / f"{clips.path.stem}-{name}") if settings.out == "auto" else settings.out,
            "data": settings.data.model_copy(update=files | dict(data or {})),
            "training": settings.training.model_copy(update=machine | dict(training or {})),
            **sections,
        }
    )


def absolute(path: str | None) -> str | None:
    """Return the absolute path, if there is one."""
    return str(Path(path).resolve()) if path is not None else None
