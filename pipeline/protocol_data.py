"""Which clips `skelpipe evaluate --protocol` measures an encoder on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.evaluate import split_to_test
from pose_extraction.annotations import ALL_CLIPS, UNLABELLED
from pose_extraction.errors import UsageError
from recognition.clips import ClipSet, split_indices, training_indices
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
    return shown_as_in(pretrained.settings.data, asked)


def shown_as_in(data: DataSettings, asked: Asked) -> DataSettings:
    """Likewise, by the settings of a pre-training; their file is an absolute path, as those of a run have it."""
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


def labelled_clips(clips: ClipSet, data: DataSettings, split: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Clips with labels, to train a classifier on and to count.

    Args:
        clips: The file.
        data: How it is shown; `train_split` names the former's split.
        split: The latter's; None for the one beside that trained on.

    Returns:
        Indices of both, int64, and the name of the latter's split.

    Raises:
        UsageError: There is no such split, the file does not say which one is meant, or none of its clips has a label.
    """
    training = training_indices(clips, data)
    test_split = split if split is not None else split_to_test(clips, data)
    test = np.arange(len(clips)) if test_split == ALL_CLIPS else split_indices(clips, test_split)
    test = test[clips.labels[test] != UNLABELLED]
    if not len(test):
        raise UsageError(f"{clips.path}: no clip of split {test_split!r} has a label; add some with `skelpipe label`")
    return training, test, test_split


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
