"""The sequences that action detection and motion prediction train and test on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.protocols.clips import ClipSelection, check_joints, optional_split
from pose_extraction.errors import UsageError, counted
from pose_extraction.formats.annotations import ALL_CLIPS
from recognition.data.clips import ClipSet, open_clips
from recognition.data.splits import matching_test_split, split_indices, training_split
from recognition.pretraining.encoder import Pretrained


@dataclass(frozen=True)
class Sequences:
    """An encoder and the sequences that it is evaluated on.

    Args:
        pretrained: The encoder.
        clips: The skeleton file.
        training: int64, indices of clips for training.
        test: int64, indices of clips for testing.
        test_split: Name of the test split.
        usual_split: The default test split; None if the file does not determine it.
        usual_training: The default training split; None if the file does not determine it.
        skip_bad: Whether to skip malformed clips instead of raising an error.
    """

    pretrained: Pretrained
    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    test_split: str
    usual_split: str | None
    usual_training: str | None
    skip_bad: bool


def open_sequences(pretrained: Pretrained, selection: ClipSelection, *, tell: Callable[[str], None]) -> Sequences:
    """Read the skeleton file and report skipped clips.

    Args:
        pretrained: The encoder.
        selection: Selection of clips.
        tell: Receives messages.

    Raises:
        AnnotationError: The file is malformed.
        UsageError: Its joints are not those of the encoder, or the splits are ambiguous.
    """
    data = selection.data_settings(pretrained.settings.data)
    clips = open_clips(selection.path, data, leave_out_empty=True, cut_persons=False)
    check_joints(pretrained, clips, clips.layout.name)
    if clips.skipped:
        tell(f"skipped {counted(len(clips.skipped), 'clip')}; the first: {clips.skipped[0]}")
    trained_on = training_split(clips, data)
    usual_data = ClipSelection(selection.path).data_settings(pretrained.settings.data)
    # Frames have labels of their own, so clips need none.
    usual = optional_split(lambda: matching_test_split(clips, data, labelled=False))
    test_split = selection.split if selection.split is not None else matching_test_split(clips, data, labelled=False)
    if selection.split is None and test_split in (trained_on, ALL_CLIPS):
        raise UsageError(
            f"{clips.path}: has no separate split for testing; create one with `skelpipe label`, or choose with "
            "--train-split and --split"
        )
    return Sequences(
        pretrained,
        clips,
        split_indices(clips, trained_on),
        split_indices(clips, test_split),
        test_split,
        usual,
        optional_split(lambda: training_split(clips, usual_data)),
        data.skip_bad,
    )
