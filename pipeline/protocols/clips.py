"""Selection of the clips that `skelpipe evaluate --protocol` evaluates an encoder on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import ALL_CLIPS, UNLABELLED
from recognition.data.clips import ClipSet
from recognition.data.splits import matching_test_split, split_indices, training_indices
from recognition.pretraining.encoder import Pretrained
from recognition.settings import DataSettings


@dataclass(frozen=True)
class ClipSelection:
    """Selection of clips from the command line.

    Args:
        path: Skeleton file.
        split: Test split; None for the one that matches the training split.
        train_split: Training split; None for that of the run, or the only one named like *train.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
    """

    path: Path
    split: str | None = None
    train_split: str | None = None
    skip_bad: bool = False
    keypoint_files: Path | None = None

    def data_settings(self, pretrained: DataSettings) -> DataSettings:
        """Return the data settings of a pre-training with the changes that the selection requests.

        Args:
            pretrained: Data settings of the pre-training, with an absolute file path.
        """
        file = str(self.path.resolve())
        same = file == pretrained.file and pretrained.train_split != ALL_CLIPS
        changes = {
            "file": file,
            "train_split": self.train_split or (pretrained.train_split if same else "auto"),
            "skip_bad": self.skip_bad or pretrained.skip_bad,
        }
        if self.keypoint_files is not None:
            changes["keypoint_files"] = str(self.keypoint_files)
        return pretrained.model_copy(update=changes)


def labelled_clips(clips: ClipSet, data: DataSettings, split: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Return labelled clips for training a classifier and for testing it.

    Args:
        clips: The skeleton file.
        data: Data settings; `train_split` is the training split.
        split: Test split; None for the one that matches the training split.

    Returns:
        Indices of training and test clips, int64, and the name of the test split.

    Raises:
        UsageError: The split does not exist, is ambiguous, or contains no labelled clip.
    """
    training = training_indices(clips, data)
    test_split = split if split is not None else matching_test_split(clips, data)
    test = split_indices(clips, test_split)
    test = test[clips.labels[test] != UNLABELLED]
    if not len(test):
        raise UsageError(f"{clips.path}: no clip of split {test_split!r} has a label; add some with `skelpipe label`")
    return training, test, test_split


def optional_split(choose: Callable[[], str | None]) -> str | None:
    """Call a function that chooses a split; return None if the file does not determine the split."""
    try:
        return choose()
    except UsageError:
        return None


def check_joints(pretrained: Pretrained, clips: ClipSet, layout: str | None) -> None:
    """Check that a file has the kind of joints that the encoder was pre-trained on.

    Args:
        pretrained: The encoder.
        clips: The file.
        layout: Name of the joint layout after conversion; None if conversion is impossible.

    Raises:
        UsageError: The layout or the number of dimensions differs.
    """
    if clips.dimensions != pretrained.dimensions or layout != pretrained.layout:
        raise UsageError(
            f"{clips.path}: contains {clips.layout.name} joints in {clips.dimensions}D, but {pretrained.path} was "
            f"pre-trained on {pretrained.layout} in {pretrained.dimensions}D; choose a matching file"
        )
