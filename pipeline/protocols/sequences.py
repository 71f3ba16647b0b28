"""Protocols for frames: action detection in long sequences, and motion prediction."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.protocols.clips import Asked, check_kind, data_of, told_or_none
from pose_extraction.errors import UsageError
from recognition.data.clips import ClipSet, open_clips
from recognition.data.splits import TEST_WORDS
from recognition.pretraining.encoder import Pretrained

if TYPE_CHECKING:
    pass
from recognition.data.splits import _clips_of


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


def open_sequences(pretrained: Pretrained, asked: Asked, *, tell: Callable[[str], None]) -> Sequences:
    """Read the skeleton file and report skipped clips.

    Args:
        pretrained: The encoder.
        asked: Selection of clips.
        tell: Receives messages.

    Raises:
        AnnotationError: The file is malformed.
        UsageError: Its joints are not those of the encoder, or the splits are ambiguous.
    """
    data = data_of(pretrained, asked)
    clips = open_clips(asked.path, data, leave_out_empty=True)
    check_kind(pretrained, clips, clips.layout.name)
    if clips.skipped:
        tell(f"{len(clips.skipped)} clips are skipped; the first: {clips.skipped[0]}")
    trained_on = _train_split(clips, data.train_split)
    usual = told_or_none(lambda: _test_split(clips, trained_on))
    test_split = asked.split if asked.split is not None else _test_split(clips, trained_on)
    return Sequences(
        pretrained,
        clips,
        _clips_of(clips, trained_on),
        _clips_of(clips, test_split),
        test_split,
        usual,
        told_or_none(lambda: _train_split(clips, data_of(pretrained, Asked(asked.path)).train_split)),
        data.skip_bad,
    )


def _train_split(clips: ClipSet, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    ending = [name for name in clips.splits if name.lower().endswith("train")]
    if len(ending) != 1:
        known = ", ".join(map(repr, clips.splits)) or "none"
        raise UsageError(
            f"{clips.path}: cannot tell which of the splits {known} is for training; choose one with --train-split"
        )
    return ending[0]


def _test_split(clips: ClipSet, trained_on: str) -> str:
    """Return the test split that matches the training split; sequences need no label of their own."""
    named = [re.sub("train", word, trained_on, flags=re.IGNORECASE) for word in TEST_WORDS]
    rest = [name for name in clips.splits if name != trained_on]
    found = [name for name in named if name in rest] or (rest if len(rest) == 1 else [])
    if not found:
        known = ", ".join(map(repr, clips.splits))
        raise UsageError(f"{clips.path}: cannot tell which of the splits {known} to use; choose one with --split")
    return found[0]
