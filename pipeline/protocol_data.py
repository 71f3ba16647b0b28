"""Which clips `skelpipe evaluate --protocol` measures an encoder on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pose_extraction.annotations import ALL_CLIPS
from pose_extraction.errors import UsageError
from recognition.clips import ClipSet
from recognition.pretraining.encoder import Pretrained
from recognition.settings import DataSettings


@dataclass(frozen=True)
class Asked:
    """What the command line says of the clips.

    Args:
        path: Skeleton file.
        split: To count; None for the one beside that trained on.
        train_split: To train on; None for that of the run, or the file's only one named like *train.
        skip_bad: Whether to go on without malformed clips.
        keypoint_files: Folder of Kinetics-400's keypoint files; None for that of the run.
    """

    path: Path
    split: str | None = None
    train_split: str | None = None
    skip_bad: bool = False
    keypoint_files: Path | None = None


def data_of(pretrained: Pretrained, asked: Asked) -> DataSettings:
    """How an encoder is shown the file: as in its pre-training, but for what is asked."""
    data = pretrained.settings.data
    file = str(asked.path.resolve())
    own = data.train_split if file == data.file and data.train_split != ALL_CLIPS else "auto"
    changes = {
        "file": file,
        "train_split": asked.train_split or own,
        "skip_bad": asked.skip_bad or data.skip_bad,
    }
    if asked.keypoint_files is not None:
        changes["keypoint_files"] = str(asked.keypoint_files)
    return data.model_copy(update=changes)


def told_or_none(choose: Callable[[], str | None]) -> str | None:
    """What a file alone says of its splits; None where it does not say."""
    try:
        return choose()
    except UsageError:
        return None


def check_kind(pretrained: Pretrained, clips: ClipSet, layout: str | None) -> None:
    """Refuses joints that the encoder was not shown.

    Args:
        pretrained: The encoder.
        clips: The file.
        layout: Name of the joint layout that its clips are shown in; None where they cannot be.

    Raises:
        UsageError: They are of another layout, or of other dimensions.
    """
    if clips.dimensions != pretrained.dimensions or layout != pretrained.layout:
        raise UsageError(
            f"{clips.path}: has {clips.layout.name} in {clips.dimensions}D, and {pretrained.path} was pre-trained on "
            f"{pretrained.layout} in {pretrained.dimensions}D; choose a file of the same kind"
        )
